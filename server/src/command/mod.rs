//! The command line: what may be typed, and which code it leads to.
//!
//! Commands print results on stdout and everything else on stderr.

mod check;
mod clients;
mod first_start;
mod invite;
mod revoke;
mod run;

use crate::address::{AddressError, PublicAddress};
use crate::listener::ServeError;
use crate::settings::{Flags, SettingsError};
use crate::state::{ClientsError, StateError};
use clap::{Args, Parser, Subcommand};
use docxy_host::logging::Filter;
use docxy_protocol::congestion::Rate;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::link::ClientName;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a command failed. The text is for the operator.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the errors are documented where they are made")]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Clients(#[from] ClientsError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    #[error("{0} of these could not be reached, or refused")]
    Check(usize),
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
}

/// The server of Docxy: fetches container images for clients that cannot reach the registries.
#[derive(Debug, Parser)]
#[command(
    name = "docxy-server",
    version,
    disable_help_subcommand = true,
    after_help = "Example: a server, and a link for one more client\n  \
        docxy-server run --public vpn.example.org\n  \
        docxy-server invite laptop --public vpn.example.org\n\n\
        Settings are taken from flags, then from the environment (DOCXY_…), then from the config \
        file, then from the defaults. Exit codes: 0 done, 1 failed, 2 misused."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArguments),
    Check(CheckArguments),
    Invite(InviteArguments),
    Clients(ClientsArguments),
    Revoke(RevokeArguments),
}

#[derive(Debug, Args)]
struct Place {
    /// The config file, TOML [default: /etc/docxy/server.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CONFIG")]
    config: Option<PathBuf>,
    /// Where the server keeps its key and its clients [default: $STATE_DIRECTORY, or
    /// /var/lib/docxy-server as root, or ~/.local/state/docxy-server]
    #[arg(long, global = true, value_name = "DIR", env = "DOCXY_STATE")]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Reach {
    /// Address and UDP port that the server listens on, several times if need be
    /// [default: [::]:61443]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
    /// The address in links, which clients dial [default: a public address of this machine, and
    /// the port listened on]
    #[arg(long, value_name = "HOST[:PORT]", env = "DOCXY_PUBLIC")]
    public: Option<PublicAddress>,
}

/// Serve the clients, until SIGTERM or SIGINT.
///
/// The first start makes the server's key and, if the public address is known, a client named
/// `default`, whose link it shows on a terminal, or else writes to STATE/default.link. The first
/// signal lets running transfers finish, the second one ends them. Clients that are invited or
/// revoked meanwhile count at once.
///
/// SIGHUP reads the config file again, with the passwords and CA files that it names, and applies
/// registries, resolve, stale, fixed_rate_limit (to new connections) and log; what is under way goes
/// on as it began. A file that is wrong changes nothing. listen and state take a restart. SIGUSR1
/// writes to the log what is under way; SIGUSR2 is ignored. A log that cannot be written is dropped and
/// counted, and ends nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server run --public vpn.example.org\n\n\
    Clients reach it by UDP: open port 61443 in the firewall.")]
struct RunArguments {
    #[command(flatten)]
    reach: Reach,
    /// The highest rate that a client may state, for each of its connections. What is above counts
    /// as this; clients that state none are not bound by it [default: 1 Gbit/s]
    #[arg(long, value_name = "RATE", env = "DOCXY_FIXED_RATE_LIMIT")]
    fixed_rate_limit: Option<Rate>,
    /// A file to write once the server listens: the addresses, one a line
    #[arg(long, value_name = "FILE", env = "DOCXY_READY_FILE")]
    ready_file: Option<PathBuf>,
    /// What to log to stderr: off, error, warn, info, debug or trace, also by module as in
    /// warn,docxy_server=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    log: Option<Filter>,
}

/// Say whether this machine can reach the registries, and how much quota is left.
///
/// Tries each registry of the config, its token service and, by an image, its CDN, just as a pull
/// would. Of Docker Hub that image is hello-world unless another one is named; looking costs no
/// quota, but an image that the server hasn't met yet costs up to two pulls. Exits with 1 if
/// anything failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server check\n  docxy-server check alpine ghcr.io/owner/image:1.2")]
struct CheckArguments {
    /// Images to try, of registries that this server serves
    #[arg(value_name = "IMAGE")]
    images: Vec<ImageName>,
}

/// Add a client and print its link.
///
/// The link goes to stdout, and nothing else does. It is a secret, and it cannot be shown again:
/// the server keeps only a hash. A running server knows the client at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server invite laptop --public vpn.example.org\n\n\
    On the client: docxy-client join, and paste the link.")]
struct InviteArguments {
    /// A name to know the client by: 1 to 64 of A-Z a-z 0-9 . _ -
    name: ClientName,
    #[command(flatten)]
    reach: Reach,
}

/// List the clients: since when, last seen, and the bytes that they used.
///
/// Times are UTC. The running server writes down what clients use every 30 seconds.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server clients\n  docxy-server clients --json")]
struct ClientsArguments {
    /// Print a JSON array, for programs
    #[arg(long)]
    json: bool,
}

/// End a client's access, its open connections included.
///
/// The name can be invited anew, and then gets another link.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server revoke laptop")]
struct RevokeArguments {
    /// The client's name; `docxy-server clients` lists them
    name: ClientName,
}

impl Arguments {
    /// Does what the arguments ask for.
    ///
    /// # Errors
    /// Where it couldn't be done; the caller tells the operator.
    pub fn execute(self) -> Result<(), CommandError> {
        let Place { config, state } = self.place;
        let flags = Flags { config, state, ..Flags::default() };
        match self.command {
            Command::Run(RunArguments { reach, fixed_rate_limit, ready_file, log }) => {
                let flags = Flags { fixed_rate_limit, log, ..flags };
                run::run(&reach.add_to(flags), ready_file)
            }
            Command::Check(CheckArguments { images }) => check::check(&images, &flags),
            Command::Invite(InviteArguments { name, reach }) => invite::invite(&name, &reach.add_to(flags)),
            Command::Clients(ClientsArguments { json }) => clients::clients(json, &flags),
            Command::Revoke(RevokeArguments { name }) => revoke::revoke(&name, &flags),
        }
    }
}

impl Reach {
    fn add_to(self, flags: Flags) -> Flags {
        let Self { listen, public } = self;
        Flags { listen, public, ..flags }
    }
}

/// Prints a result. An error is one: `docxy-server invite x > /full/disk` has lost the link.
fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CommandError::Output)
}

/// Says something to the operator that is no result.
fn remark(text: &str) {
    // Without stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_helps_with_an_example() {
        let mut program = Arguments::command();
        program.clone().debug_assert();
        let commands: Vec<_> = program.get_subcommands_mut().collect();
        assert_eq!(commands.len(), 5);
        for command in commands {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example:\n  docxy-server "), "{help}");
        }
    }
}
