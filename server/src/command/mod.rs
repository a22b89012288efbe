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
use arguments::{
    CheckArguments, ClientsArguments, Command, CommonArguments, InviteArguments, RevokeArguments,
    RunArguments,
};

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// If the command fails. The caller prints the error.
    pub fn execute(self) -> Result<(), CommandError> {
        let CommonArguments { config, state, clients_file } = self.common;
        let flags = Flags { config, state, clients_file, ..Flags::default() };
        match self.command {
            Command::Run(RunArguments {
                addresses,
                proxy,
                fixed_rate_limit,
                client_max_rate,
                handover,
                tls_certificate,
                tls_key,
                ready_file,
                status_file,
                log,
            }) => {
                let proxy = proxy.proxy;
                let flags = Flags {
                    proxy,
                    fixed_rate_limit,
                    client_max_rate,
                    handover,
                    tls_certificate,
                    tls_key,
                    log,
                    ..flags
                };
                run::run(&addresses.add_to(flags), ready_file, status_file)
            }
            Command::Check(CheckArguments { images, proxy }) => {
                check::check(&images, &Flags { proxy: proxy.proxy, ..flags })
            }
            Command::Invite(InviteArguments { name, addresses }) => {
                invite::invite(&name, &addresses.add_to(flags))
            }
            Command::Clients(ClientsArguments { json }) => clients::clients(json, &flags),
            Command::Revoke(RevokeArguments { name }) => revoke::revoke(&name, &flags),
        }
    }
}
