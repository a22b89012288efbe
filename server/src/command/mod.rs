//! The commands.
//!
//! Must never print anything but results on stdout: all else goes to stderr.

mod arguments;
mod check;
mod clients;
mod error;
mod first_start;
mod invite;
mod revoke;
mod run;

pub use arguments::Arguments;
pub use error::CommandError;

use crate::settings::{CommonSettings, Flags};
use crate::state::{State, StateError};
use arguments::{CheckArguments, ClientsArguments, Command, InviteArguments, RevokeArguments};
use docxy_host::terminal::print_note;
use std::path::Path;

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// If the command fails. The caller prints the error.
    pub fn execute(self) -> Result<(), CommandError> {
        let flags = Flags { common: self.common, ..Flags::default() };
        match self.command {
            Command::Run(arguments) => run::run(arguments, flags),
            Command::Check(CheckArguments { images, proxy }) => {
                check::check(&images, &Flags { proxy, ..flags })
            }
            Command::Invite(InviteArguments { name, addresses }) => {
                invite::invite(&name, &Flags { addresses, ..flags })
            }
            Command::Clients(ClientsArguments { json }) => clients::clients(json, &flags),
            Command::Revoke(RevokeArguments { name }) => revoke::revoke(&name, &flags),
        }
    }
}

/// The state for a command beside `run`, with the clients' file of the settings, or else the one that the server here
/// reads. A change of another file would have no effect.
fn open_state(settings: &CommonSettings) -> Result<State, StateError> {
    let state = State::open(&settings.state)?;
    let shared = match (settings.clients_file.clone(), state.clients_file_of_server()?) {
        (None, Some(file)) if file != state.path("clients") => {
            print_note(&format!("the clients file is {}, as the server was started with", file.display()));
            Some(file)
        }
        (Some(given), Some(of_server)) if !is_same(&given, &of_server) => {
            return Err(StateError::OtherClients { given, of_server });
        }
        (given, _) => given,
    };
    Ok(state.with_shared_clients(shared))
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    real(one) == real(other)
}
