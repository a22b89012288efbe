//! `docxy-client doctor`: says what is wrong, hop by hop, and what mends it.
//!
//! `server` walks from a link to the registries as its server sees them, and [`local_client`] and [`engines`] from the
//! running client to the engines. [`report`] renders what they find. Must never change anything, or print a secret.
//!
//! Prints each finding on stdout when it is known, or with `--json` all of them at the end.

pub mod engines;
mod links;
pub mod local_client;
mod registry;
pub mod report;
mod server;
mod walk;

pub use walk::{Check, Finding, Subject, Verdict, Walk};

use super::error::CommandError;
use crate::settings::{ConnectionFlags, ConnectionSettings, Flags, ServingFlags, listen};
use clap::Args;
use docxy_host::logging::{self, Filter};
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::process::terminal::print;
use docxy_protocol::image_name::ImageName;
use indicatif::ProgressBar;
use std::time::Duration;
use tracing::Level;
use walk::Tell;

const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// Find out what is wrong between engines and registries, and what mends it.
///
/// Walks from the links to each server, over UDP and TCP, to the registry of an image, its token service and its CDN as
/// the server sees them, and from the client on this machine to the engines. Changes nothing. The first time, an image
/// costs the server up to two pulls. Exits with 1 if something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client doctor\n  docxy-client doctor ghcr.io/owner/app --json")]
pub(super) struct DoctorArguments {
    /// The public image for which the registry is asked
    #[arg(default_value = "hello-world")]
    image: ImageName,
    /// Print one JSON document at the end, for programs
    #[arg(long)]
    json: bool,
    /// Where the client of this machine listens [default: 127.0.0.1:5080]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    listen: Vec<ListenAddress>,
    #[command(flatten)]
    connection: ConnectionFlags,
}

pub(super) fn doctor(arguments: DoctorArguments, flags: Flags) -> Result<(), CommandError> {
    let DoctorArguments { image, json, listen: addresses, connection } = arguments;
    let serving = ServingFlags { listen: addresses, ..ServingFlags::default() };
    let flags = Flags { connection, serving, ..flags };
    let _logging = logging::start(&Filter::level(Level::ERROR));
    let settings = ConnectionSettings::load(&flags, Level::ERROR);
    let walk = Walk { tunnel: settings.map(|settings| settings.tunnel), listen: listen(&flags), image };
    // On a terminal only.
    let spinner = ProgressBar::new_spinner().with_message("trying the next hop");
    spinner.enable_steady_tick(SPINNER_INTERVAL);
    let mut findings: Vec<Finding> = Vec::new();
    let mut printed = Ok(());
    let tell = &mut |finding: Finding| {
        if !json && printed.is_ok() {
            printed = spinner.suspend(|| print(&report::lines(&finding, findings.last())));
        }
        findings.push(finding);
    };
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    runtime.block_on(walk.run(tell));
    spinner.finish_and_clear();
    if json {
        printed = print(&format!("{:#}\n", report::json(&findings)));
    }
    printed.map_err(CommandError::Output)?;
    match findings.iter().filter(|finding| finding.verdict.is_fault()).count() {
        0 => Ok(()),
        faults => Err(CommandError::Faults(faults)),
    }
}
