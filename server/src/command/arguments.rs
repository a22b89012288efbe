//! The command line.

use crate::address::PublicAddress;
use crate::settings::Flags;
use clap::{Args, Parser, Subcommand};
use docxy_host::logging::Filter;
use docxy_host::proxy::{Proxy, ProxyUrlError};
use docxy_host::terminal::print_note;
use docxy_protocol::congestion::Rate;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::link::ClientName;
use std::error::Error as _;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    pub(super) common: CommonArguments,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(RunArguments),
    Check(CheckArguments),
    Invite(InviteArguments),
    Clients(ClientsArguments),
    Revoke(RevokeArguments),
}

#[derive(Debug, Args)]
pub(super) struct CommonArguments {
    /// The config file, TOML [default: /etc/docxy/server.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The directory for the server's key and clients [default: $STATE_DIRECTORY, or
    /// /var/lib/docxy-server as root, or ~/.local/state/docxy-server]
    #[arg(long, global = true, value_name = "DIR", env = "DOCXY_STATE")]
    pub(super) state: Option<PathBuf>,
    /// The file of the clients, if several servers share it; they only read it, and need no right to write
    /// [default: clients in the state directory]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CLIENTS_FILE")]
    pub(super) clients_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct AddressArguments {
    /// Address and UDP port to listen on; may be repeated
    /// [default: [::]:61443]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    pub(super) listen: Vec<SocketAddr>,
    /// The address in links, which clients dial [default: a public address of this machine, and
    /// the port listened on]
    #[arg(long, value_name = "HOST[:PORT]", env = "DOCXY_PUBLIC")]
    pub(super) public: Option<PublicAddress>,
}

#[derive(Debug, Args)]
pub(super) struct ProxyArguments {
    /// The proxy through which registries are reached: http://HOST:PORT or socks5://HOST:PORT. A password must not be
    /// in an argument: see server/README.md [env: DOCXY_PROXY, then HTTPS_PROXY or ALL_PROXY, with NO_PROXY]
    #[arg(long, value_name = "URL", value_parser = Proxy::without_password)]
    pub(super) proxy: Option<Proxy>,
}

/// Serve the clients, until SIGTERM or SIGINT.
///
/// The first start creates the server's key and, if the public address is known, a client named
/// `default`. Its link is shown on a terminal, or else written to STATE/default.link. `invite` and
/// `revoke` take effect while the server runs.
///
/// At the first signal, clients with another server move to it, and the others go on for up to 30
/// seconds. Clients then continue with the next process what is not complete; with --handover they do
/// so at once. A second signal ends the server at once.
///
/// SIGHUP reads the config file again, with the passwords and CA files that it names, and applies
/// registries, resolve, proxy, stale, log and, to new connections, fixed_rate_limit, client_max_rate, tls_certificate and
/// tls_key, whose files it reads again. Running transfers keep their settings. A wrong file changes nothing. listen, state and handover need a restart. SIGUSR1 logs how
/// many connections and transfers are in progress, and writes the status file; SIGUSR2 is ignored. Log
/// lines that cannot be written are dropped and counted, and the server goes on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server run --public vpn.example.org\n\n\
    Clients reach it by UDP: open port 61443 in the firewall.")]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) addresses: AddressArguments,
    #[command(flatten)]
    pub(super) proxy: ProxyArguments,
    /// The highest fixed rate that a client may set, for each of its connections. A higher one is
    /// lowered to it. Clients without a fixed rate are not limited [default: 1 Gbit/s]
    #[arg(long, value_name = "RATE", env = "DOCXY_FIXED_RATE_LIMIT")]
    pub(super) fixed_rate_limit: Option<Rate>,
    /// How fast the server may send to one client, over all its connections, whatever its congestion control is
    /// [default: no limit]
    #[arg(long, value_name = "RATE", env = "DOCXY_CLIENT_MAX_RATE")]
    pub(super) client_max_rate: Option<Rate>,
    /// At the first SIGTERM, hand running transfers back to the clients and end within 2 seconds. The clients continue
    /// them with the next process, which a service manager starts at once
    #[arg(long, value_name = "BOOL", env = "DOCXY_HANDOVER", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) handover: Option<bool>,
    /// A certificate of your own for what strangers see on TCP, PEM with its chain. Handshakes that ask for one of its
    /// DNS names get it, all others the server's own, whose pin is in the links [default: none]
    #[arg(long, value_name = "FILE", env = "DOCXY_TLS_CERTIFICATE")]
    pub(super) tls_certificate: Option<PathBuf>,
    /// Its private key, PEM, not encrypted
    #[arg(long, value_name = "FILE", env = "DOCXY_TLS_KEY")]
    pub(super) tls_key: Option<PathBuf>,
    /// A file to write once the server listens: its addresses, one address per line
    #[arg(long, value_name = "FILE", env = "DOCXY_READY_FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// A file to write at each SIGUSR1: current activity and counters since the start, as JSON
    #[arg(long, value_name = "FILE", env = "DOCXY_STATUS_FILE")]
    pub(super) status_file: Option<PathBuf>,
    /// What to log to stderr: off, error, warn, info, debug or trace, also by module as in
    /// warn,docxy_server=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    pub(super) log: Option<Filter>,
}

/// Check whether this machine can reach the registries, and how much quota is left.
///
/// Tries each registry of the config, its token service and, with an image, its CDN, as a pull does.
/// The image for Docker Hub is hello-world, unless another one is named. With a proxy, everything goes through
/// it as in `run`. An image that the server has not stored yet costs up to two pulls of the quota, another image none. Exits with 1 if anything
/// failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server check\n  docxy-server check alpine ghcr.io/owner/image:1.2")]
pub(super) struct CheckArguments {
    /// Images to try, from registries that this server serves
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<ImageName>,
    #[command(flatten)]
    pub(super) proxy: ProxyArguments,
}

/// Add a client and print its link.
///
/// Only the link goes to stdout. It is a secret, and cannot be shown again: the server stores only
/// a hash. A running server accepts the client at once. With --clients-file, so do all servers that
/// share the file; --state then has a copy of their identity.pem.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server invite laptop --public vpn.example.org\n\n\
    On the client: docxy-client join, and paste the link.")]
pub(super) struct InviteArguments {
    /// The client's name: 1 to 64 of A-Z a-z 0-9 . _ -
    pub(super) name: ClientName,
    #[command(flatten)]
    pub(super) addresses: AddressArguments,
}

/// List the clients: since when, last seen, and the bytes that they used.
///
/// Times are UTC. The running server writes the usage every 30 seconds.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server clients\n  docxy-server clients --json")]
pub(super) struct ClientsArguments {
    /// Print a JSON array, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// End a client's access, its open connections included.
///
/// The name can be invited again, and then gets another link.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server revoke laptop")]
pub(super) struct RevokeArguments {
    /// The client's name; `docxy-server clients` lists them
    pub(super) name: ClientName,
}

impl Arguments {
    /// Parses the command line. Ends the program for help, and for misuse.
    #[must_use]
    pub fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| match proxy_error(&error) {
            Some(why) => {
                print_note(&format!("docxy-server: --proxy: {why}"));
                std::process::exit(2)
            }
            None => error.exit(),
        })
    }
}

/// What is wrong with a proxy. clap's own text quotes the argument, which may contain a password.
fn proxy_error(error: &clap::Error) -> Option<&ProxyUrlError> {
    error.source()?.downcast_ref()
}

impl AddressArguments {
    pub(super) fn add_to(self, flags: Flags) -> Flags {
        let Self { listen, public } = self;
        Flags { listen, public, ..flags }
    }
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

    #[test]
    fn a_password_in_an_argument_is_refused_and_not_quoted() {
        let parse = |url: &str| Arguments::try_parse_from(["docxy-server", "check", "--proxy", url]);
        for (url, expected) in [
            ("http://me:hunter2@proxy:1", ProxyUrlError::Password),
            ("https://me:hunter2@proxy:1", ProxyUrlError::Scheme("https".into())),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(proxy_error(&error), Some(&expected));
        }
        assert!(parse("http://me@proxy:1").is_ok());
    }
}
