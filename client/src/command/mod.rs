//! The commands.
//!
//! Commands print results on stdout and everything else on stderr. A link is a secret: no command prints one.

mod arguments;
mod error;
mod join;
mod links;
mod pull;
mod reload;
mod run;
mod status_report;

pub use arguments::Arguments;
pub use error::CommandError;

use crate::settings::Flags;
use arguments::{Command, JoinArguments, LinksCommand, RunArguments};

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// If the command failed. The caller reports it.
    pub fn execute(self) -> Result<(), CommandError> {
        let flags = Flags { config: self.config, ..Flags::default() };
        match self.command {
            Command::Join(JoinArguments { link, link_file, trusted }) => {
                join::join(link, trusted, &Flags { link_file, ..flags })
            }
            Command::Links(arguments) => match arguments.command {
                None => links::list(&flags),
                Some(LinksCommand::Remove { host }) => links::remove(&host, &flags),
            },
            Command::Run(RunArguments {
                listen,
                connection,
                host,
                allow_remote,
                patience,
                ready_file,
                log,
            }) => {
                let flags =
                    Flags { listen, hosts: host, allow_remote, stall_timeout: patience, log, ..flags };
                run::run(&connection.add_to(flags), ready_file)
            }
            Command::Pull(arguments) => {
                let flags = Flags { log: arguments.log.clone(), ..flags };
                let flags = arguments.connection.add_to(flags);
                pull::pull(arguments, &flags)
            }
        }
    }
}
