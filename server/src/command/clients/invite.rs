//! `docxy-server invite`: adds a client and prints its link.

use crate::access;
use crate::command::error::CommandError;
use crate::command::open_state;
use crate::settings::{CommonSettings, Flags};
use docxy_host::process::terminal::{is_stdout_closed, print};
use docxy_protocol::link::ClientName;

pub(in crate::command) fn invite(name: &ClientName, flags: &Flags) -> Result<(), CommandError> {
    if is_stdout_closed() {
        return Err(CommandError::NoOutput("the link"));
    }
    let basics = CommonSettings::load(flags)?;
    let state = open_state(&basics, &format!("invite {name}"))?;
    let link = access::invite(&state, name, basics.public, &basics.listen)?;
    print(&format!("{}\n", link.expose_with_sum())).map_err(CommandError::Output)
}
