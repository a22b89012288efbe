//! The command line.

use super::admin_password::AdminPasswordArguments;
use super::client_package::ClientPackageArguments;
use super::service::ServiceArguments;
use crate::settings::{AddressFlags, CommonFlags, ProxyFlags, ServingFlags};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use docxy_host::logging::Filter;
use docxy_host::net::proxy::ProxyUrlError;
use docxy_host::process::command_line::{CompletionsArguments, ManArguments, VersionArguments};
use docxy_host::process::terminal::print_note;
use docxy_host::process::variables::without_empty;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::link::{ClientName, find_link};
use std::error::Error as _;
use std::path::PathBuf;

/// The server of Docxy: fetches container images for clients that cannot reach the registries.
#[derive(Debug, Parser)]
#[command(
    name = "docxy-server",
    version,
    after_help = "Example: a server, and a link for one more client\n  \
        docxy-server run --public vpn.example.org\n  \
        docxy-server invite laptop\n\n\
        Settings are taken from flags, then from the environment (DOCXY_…), then from the config \
        file, then from the defaults. Exit codes: 0 done, 1 failed, 2 misused."
)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) common: CommonFlags,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(Box<RunArguments>),
    Check(CheckArguments),
    Invite(InviteArguments),
    Clients(ClientsArguments),
    Revoke(RevokeArguments),
    ClientPackage(ClientPackageArguments),
    AdminPassword(AdminPasswordArguments),
    Service(ServiceArguments),
    #[command(after_help = "Example:\n  docxy-server completions bash >/etc/bash_completion.d/docxy-server")]
    Completions(CompletionsArguments),
    #[command(hide = true, after_help = "Example:\n  docxy-server man target/man")]
    Man(ManArguments),
    #[command(after_help = "Example:\n  docxy-server version")]
    Version(VersionArguments),
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
/// tls_key, whose files it reads again. Running transfers keep their settings. A wrong file changes nothing. listen,
/// state, clients_file, layer_cache, cache, handover, admin, log_format and log_images need a restart. SIGUSR1 logs how
/// many connections and transfers are in progress, and writes the status file; SIGUSR2 is ignored. Log
/// lines that cannot be written are dropped and counted, and the server goes on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server run --public vpn.example.org\n\n\
    Clients reach it by UDP or TCP: open port 61443 of both in the firewall.")]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) addresses: AddressFlags,
    #[command(flatten)]
    pub(super) proxy: ProxyFlags,
    #[command(flatten)]
    pub(super) serving: ServingFlags,
    /// A file to write once the server listens: its addresses, one address per line
    #[arg(long, value_name = "FILE", env = "DOCXY_READY_FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// A file to write at each SIGUSR1: current activity and counters since the start, as JSON
    #[arg(long, value_name = "FILE", env = "DOCXY_STATUS_FILE")]
    pub(super) status_file: Option<PathBuf>,
    /// What to log to stderr: off, error, warn, info or debug, also by module as in
    /// warn,docxy_server=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    pub(super) log: Option<Filter>,
}

/// Check whether this machine can reach the registries, and how much quota is left.
///
/// Tries each registry of the config, or the built-in ones, its token service and, with an image, its CDN, as a pull
/// does. With images, only their registries. The image for Docker Hub is hello-world, unless another one is named. With a proxy, everything goes through
/// it as in `run`. An image that the server has not stored yet costs up to two pulls of the quota, another image none. Exits with 1 if anything
/// failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server check\n  docxy-server check alpine ghcr.io/owner/image:1.2")]
pub(super) struct CheckArguments {
    /// Images to try, from registries that this server serves
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<ImageName>,
    #[command(flatten)]
    pub(super) proxy: ProxyFlags,
}

/// Add a client and print its link.
///
/// Only the link goes to stdout. It is a secret, and cannot be shown again: the server stores only
/// a hash. A running server accepts the client at once. The address in it is that of --public, else the one that `run`
/// had last. With --clients-file, so do all servers that
/// share the file; --state then has a copy of their identity.pem.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-server invite laptop --public vpn.example.org\n\n\
    On the client: docxy-client join, and paste the link.")]
pub(super) struct InviteArguments {
    /// The client's name: 1 to 64 of A-Z a-z 0-9 . _ -
    pub(super) name: ClientName,
    #[command(flatten)]
    pub(super) addresses: AddressFlags,
}

/// List the clients: since when, last seen, how many connections each has now, and the bytes that it used.
///
/// DOWN is what the server sent to the client, and UP what the client sent (`sent` and `received` in JSON), since the
/// client was invited. Times are UTC. Without a running server, the numbers are as it wrote them last.
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
        Self::try_read().unwrap_or_else(|error| match misuse(&error) {
            Some(why) => {
                print_note(&format!("docxy-server: {why}"));
                std::process::exit(2)
            }
            None => error.exit(),
        })
    }

    fn try_read() -> Result<Self, clap::Error> {
        let mut program = without_empty(Self::command());
        let mut matches = program.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut program))
    }
}

/// What is wrong with a proxy, or with a link. clap's own text quotes the argument, which may contain a password.
fn misuse(error: &clap::Error) -> Option<String> {
    if error.use_stderr() && find_link(&error.to_string()).is_some() {
        return Some(
            "no command of the server takes a link; on the other machine, `docxy-client join` does".into(),
        );
    }
    error.source()?.downcast_ref::<ProxyUrlError>().map(|why| format!("--proxy: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::process::command_line::{Shell, completions};

    #[test]
    fn every_command_helps_with_an_example() {
        let mut program = Arguments::command();
        program.clone().debug_assert();
        let commands: Vec<_> = program.get_subcommands_mut().collect();
        assert!(!commands.is_empty());
        for command in commands {
            let help = command.render_long_help().to_string().replace("  sudo ", "  ");
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
            assert_eq!(misuse(&error), Some(format!("--proxy: {expected}")));
        }
        let link =
            Arguments::try_parse_from(["docxy-server", "docxy://me:hunter2@host:1?pin=x"]).unwrap_err();
        assert!(!misuse(&link).unwrap().contains("hunter2"));
        let unknown = Arguments::try_parse_from(["docxy-server", "hunter2"]).unwrap_err();
        assert_eq!(misuse(&unknown), None);
        assert!(parse("http://me@proxy:1").is_ok());
    }

    #[test]
    fn shells_complete_every_command_and_each_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        ManArguments { directory: dir.path().to_owned() }.run(Arguments::command()).unwrap();
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let page = std::fs::read_to_string(dir.path().join(format!("docxy-server-{name}.1"))).unwrap();
            assert!(page.contains("Example"), "{page}");
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = completions(shell, Arguments::command());
                assert!(script.contains(name), "{shell} {name}");
            }
        }
        assert!(dir.path().join("docxy-server.1").exists());
    }

    #[test]
    fn help_and_version_are_commands_too() {
        for (command, expected) in
            [("help", "Usage: docxy-server"), ("help invite", "Usage: docxy-server invite")]
        {
            let line = format!("docxy-server {command}");
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 0);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Arguments::try_parse_from(["docxy-server", "version"]).is_ok());
    }
}
