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

use crate::settings::Flags;
use arguments::{CheckArguments, ClientsArguments, Command, InviteArguments, RevokeArguments};

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
