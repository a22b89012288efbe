//! `docxy-server revoke`: ends a client's access.

use crate::access;
use crate::command::error::CommandError;
use crate::command::open_state;
use crate::settings::{CommonSettings, Flags};
use crate::state::Revocation;
use docxy_host::process::terminal::print_note;
use docxy_protocol::link::ClientName;

pub(in crate::command) fn revoke(name: &ClientName, flags: &Flags) -> Result<(), CommandError> {
    let state = open_state(&CommonSettings::load(flags)?, &format!("revoke {name}"))?;
    match access::revoke(&state, name)? {
        Revocation::Revoked => {
            print_note(&format!("{name} is revoked; a running server ends its connections within 2 seconds"))
        }
        Revocation::AlreadyRevoked(time) => print_note(&format!("{name} is revoked already, since {time}")),
        Revocation::Unknown(active) => {
            let active: Vec<_> = active.iter().map(ToString::to_string).collect();
            let active = match active.as_slice() {
                [] => "no client has access".to_owned(),
                names => format!("active clients: {}", names.join(", ")),
            };
            return Err(CommandError::UnknownClient {
                name: name.clone(),
                file: state.clients_path(),
                active,
            });
        }
    }
    Ok(())
}
