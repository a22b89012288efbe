//! The commands.
//!
//! Commands print results on stdout and everything else on stderr. A link is a secret: must never print one.

mod arguments;
mod cache;
pub mod doctor;
mod error;
mod links;
mod login;
mod pull;
mod run;
pub mod setup;
mod status;
mod warm;

pub use arguments::Arguments;
pub use error::CommandError;

use crate::settings::Flags;
use arguments::{Command, LinksCommand};
use clap::CommandFactory as _;

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// If the command failed. The caller reports it.
    pub fn execute(self) -> Result<(), CommandError> {
        let flags = Flags { config: self.config, ..Flags::default() };
        let Some(command) = self.command else { return status::standing::standing(&flags) };
        match command {
            Command::Join(arguments) => links::join::join(arguments, &flags),
            Command::Links(arguments) => match arguments.command {
                None => links::list(&flags),
                Some(LinksCommand::Remove { server }) => links::remove(&server, &flags),
                Some(LinksCommand::Trust { server }) => links::trust(&server, &flags),
            },
            Command::Login(arguments) => login::login(arguments, flags),
            Command::Logout(arguments) => login::logout(&arguments, &flags),
            Command::Run(arguments) => run::run(arguments, flags),
            Command::Pull(arguments) => pull::pull(arguments, flags),
            Command::Warm(arguments) => warm::warm(arguments, flags),
            Command::Setup(arguments) => setup::setup(arguments, &flags),
            Command::Cache(arguments) => cache::cache(arguments, flags),
            Command::Doctor(arguments) => doctor::doctor(arguments, flags),
            Command::Status(arguments) => status::status(arguments, flags),
            Command::Service(arguments) => run::service::service(&arguments, &flags),
            Command::Completions(arguments) => arguments.run(Self::command()).map_err(CommandError::Output),
            Command::Man(arguments) => arguments.run(Self::command()).map_err(CommandError::Output),
            Command::Version(arguments) => arguments.run(&Self::command()).map_err(CommandError::Output),
        }
    }
}
