//! `docxy-server` without a command: where things stand, and the next command.

use super::error::CommandError;
use super::open_state;
use crate::settings::{CommonSettings, Flags};
use crate::state::{StateError, usage};
use docxy_host::process::terminal::print;
use std::path::Path;

/// Where the unit of our package may be, which an operator may have replaced.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

pub(super) fn standing(flags: &Flags) -> Result<(), CommandError> {
    let settings = CommonSettings::load(flags)?;
    let (stands, next) = match open_state(&settings, "clients") {
        Ok(state) => {
            let (clients, totals) = (state.clients()?, usage::totals(&state)?);
            let count = clients.iter().filter(|(_, client)| client.revoked.is_none()).count();
            let is_used = totals.values().any(|total| total.last_seen.is_some());
            let place = settings.state.display();
            let s = if count == 1 { "" } else { "s" };
            match state.is_running()? {
                false => (
                    format!("docxy-server does not run; its state in {place} has {count} client{s}"),
                    start(false),
                ),
                true if is_used => {
                    (format!("docxy-server runs, with {count} client{s}"), "docxy-server clients")
                }
                true => (
                    format!("docxy-server runs, with {count} client{s}; none was connected yet"),
                    "docxy-server invite NAME",
                ),
            }
        }
        // It says where the state is, and whose it is.
        Err(error @ CommandError::OtherUser { .. }) => (error.to_string(), "sudo docxy-server"),
        Err(CommandError::State(StateError::NotThere { directory })) => {
            (format!("there is no state of a docxy-server in {}", directory.display()), start(true))
        }
        Err(error) => return Err(error),
    };
    print(&format!("{stands}\nnext: {next}\n")).map_err(CommandError::Output)
}

/// What starts the server on this machine, for the first time or again.
fn start(is_first: bool) -> &'static str {
    let has_unit = UNITS.iter().any(|directory| Path::new(directory).join("docxy-server.service").exists());
    match (has_unit, is_first) {
        (true, _) => "sudo systemctl enable --now docxy-server",
        (false, true) => "docxy-server run --public HOST",
        (false, false) => "docxy-server run",
    }
}
