//! The links: whether there are any, and whether they are what the server printed.
//!
//! Must never quote one.

use super::{Check, Finding, Subject, Tell, Verdict};
use crate::local_api::system_client_runs;
use crate::settings::{LinksError, SettingsError};
use crate::tunnel::TunnelConfig;
use docxy_protocol::link::LinkError;
use std::io::ErrorKind;
use std::path::Path;

/// What mends a link, after the line of the damaged one was deleted.
const JOIN: &str = "docxy-client join";

pub(super) fn check(tunnel: &Result<TunnelConfig, SettingsError>, tell: Tell<'_>) {
    let (links, checksum) = match tunnel {
        Ok(config) if config.links.is_empty() => {
            let links = match system_client_runs() {
                true => Verdict::not_tried(
                    "this user has none; for those of the system: sudo docxy-client doctor",
                ),
                false => Verdict::fault("no link is joined", JOIN),
            };
            (links, Verdict::not_tried("there is no link"))
        }
        Ok(config) => {
            let addresses: Vec<_> = config.links.iter().map(|joined| joined.link.address()).collect();
            (
                Verdict::Ok(addresses.join(" ")),
                Verdict::Ok("every link is as its checksum says, if it has one".into()),
            )
        }
        Err(error) => of_error(error),
    };
    for (check, verdict) in [(Check::Links, links), (Check::Checksum, checksum)] {
        tell(Finding { check, subject: Subject::Machine, verdict });
    }
}

fn of_error(error: &SettingsError) -> (Verdict, Verdict) {
    let unreadable = || Verdict::not_tried("no link can be read");
    match error {
        SettingsError::Links(LinksError::Parse { origin, line, source }) => {
            let remedy = match Path::new(origin).exists() {
                true => format!("sed -i {line}d '{origin}'; {JOIN}"),
                false => format!("set {origin} to the whole line that docxy-server invite printed"),
            };
            match source {
                LinkError::Sum | LinkError::Changed(_) => {
                    (Verdict::Ok(format!("{origin} can be read")), Verdict::fault(error, remedy))
                }
                _ => (Verdict::fault(error, remedy), unreadable()),
            }
        }
        SettingsError::Links(LinksError::Read { source, .. })
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            (Verdict::fault(error, "sudo docxy-client doctor"), unreadable())
        }
        SettingsError::Links(_) => (Verdict::fault(error, JOIN), unreadable()),
        _ => (Verdict::fault(error, "change that in the config file"), unreadable()),
    }
}
