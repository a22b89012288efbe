//! The commands.
//!
//! Must never print anything but results on stdout: all else goes to stderr.

mod admin_password;
mod arguments;
mod check;
mod client_package;
mod clients;
mod error;
mod first_start;
mod next_steps;
mod run;
mod service;
mod standing;

pub use arguments::Arguments;
pub use error::CommandError;

use crate::settings::{CommonSettings, Flags};
use crate::state::{State, StateError};
use arguments::{CheckArguments, ClientsArguments, Command, InviteArguments, RevokeArguments};
use clap::CommandFactory as _;
use clients::{invite, revoke};
use docxy_host::files::directories::{SERVER_STATE, is_root};
use docxy_host::process::terminal::print_note;
use std::path::Path;

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// If the command fails. The caller prints the error.
    pub fn execute(self) -> Result<(), CommandError> {
        let flags = Flags { common: self.common, ..Flags::default() };
        let Some(command) = self.command else { return standing::standing(&flags) };
        match command {
            Command::Run(arguments) => run::run(*arguments, flags),
            Command::Check(CheckArguments { images, proxy }) => {
                check::check(&images, &Flags { proxy, ..flags })
            }
            Command::Invite(InviteArguments { name, addresses }) => {
                invite::invite(&name, &Flags { addresses, ..flags })
            }
            Command::Clients(ClientsArguments { json }) => clients::clients(json, &flags),
            Command::Revoke(RevokeArguments { name }) => revoke::revoke(&name, &flags),
            Command::AdminPassword(_) => admin_password::admin_password(&flags),
            Command::ClientPackage(arguments) => client_package::client_package(&arguments),
            Command::Service(arguments) => service::service(&arguments),
            Command::Completions(arguments) => arguments.run(Self::command()).map_err(CommandError::Output),
            Command::Man(arguments) => arguments.run(Self::command()).map_err(CommandError::Output),
            Command::Version(arguments) => arguments.run(&Self::command()).map_err(CommandError::Output),
        }
    }
}

/// The state for a command beside `run`, with the clients' file of the settings, or else the one that the server here
/// reads. A change of another file would have no effect. Only `run` makes a state.
fn open_state(settings: &CommonSettings, command: &str) -> Result<State, CommandError> {
    try_open_state(settings).map_err(|source| {
        let system = Path::new(SERVER_STATE.system).symlink_metadata().is_ok().then_some(SERVER_STATE.system);
        match of_another_user(&source, &settings.state, system.map(Path::new)) {
            Some(state) if !is_root() => {
                CommandError::OtherUser { source, command: command.to_owned(), state: state.to_owned() }
            }
            _ => source.into(),
        }
    })
}

/// The state that root may use and this user may not, by this error. `system` is the directory of root's state, if it
/// is there.
fn of_another_user<'a>(error: &StateError, given: &'a Path, system: Option<&'a Path>) -> Option<&'a Path> {
    match error {
        StateError::File(error) if error.is_permission_denied() => Some(given),
        StateError::NotThere { .. } => system.filter(|system| *system != given),
        _ => None,
    }
}

fn try_open_state(settings: &CommonSettings) -> Result<State, StateError> {
    let state = State::open_existing(&settings.state)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::files::private_file::FileError;
    use std::io::ErrorKind;

    #[test]
    fn a_state_of_another_user_is_named() {
        let [given, system] = ["/home/me/state", "/var/lib/docxy-server"].map(Path::new);
        let unreadable = |kind: ErrorKind| {
            StateError::from(FileError::Read { path: given.join("identity.pem"), source: kind.into() })
        };
        let not_there = StateError::NotThere { directory: given.to_owned() };
        for (error, there, expected) in [
            (&unreadable(ErrorKind::PermissionDenied), None, Some(given)),
            (&unreadable(ErrorKind::InvalidData), Some(system), None),
            (&not_there, Some(system), Some(system)),
            (&not_there, Some(given), None),
            (&not_there, None, None),
        ] {
            assert_eq!(of_another_user(error, given, there), expected, "{error}");
        }
    }
}
