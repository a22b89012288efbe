//! The command line: what may be typed, and which code it leads to.
//!
//! Commands print results on stdout and everything else on stderr. A link is a secret: nothing
//! here prints one, not even where it was typed in the wrong place.

mod join;
mod pull;
mod run;

use crate::frontend::FrontendError;
use crate::links::LinksError;
use crate::pull::{DestinationError, PullError};
use crate::settings::{Congestion, Flags, SettingsError};
use clap::{Args, Parser, Subcommand};
use docxy_host::logging::Filter;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::platform::Platform;
use docxy_protocol::secret::Secret;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a command failed. The text is for the user.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "most errors are documented where they are made")]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Links(#[from] LinksError),
    #[error(transparent)]
    Frontend(#[from] FrontendError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    #[error("cannot read the link: {0}")]
    Input(#[source] io::Error),
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
    /// By a signal.
    #[error("interrupted; nothing was kept")]
    Interrupted,
}

/// The client of Docxy: container images for a machine that cannot reach the registries.
#[derive(Debug, Parser)]
#[command(
    name = "docxy-client",
    version,
    disable_help_subcommand = true,
    after_help = "Example: once, then for every boot, then as often as you like\n  \
        docxy-client join\n  \
        docxy-client run\n  \
        docker pull 127.0.0.1:5080/library/alpine\n\n\
        Settings are taken from flags, then from the environment (DOCXY_…), then from the config \
        file, then from the defaults. Exit codes: 0 done, 1 failed, 2 misused."
)]
pub struct Arguments {
    /// The config file, TOML [default: /etc/docxy/client.toml as root, else
    /// ~/.config/docxy/client.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CONFIG", value_parser = no_link)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Join(JoinArguments),
    Run(RunArguments),
    Pull(PullArguments),
}

#[derive(Debug, Clone, Args)]
struct Reach {
    /// A file of links to use instead of the joined ones [env: DOCXY_LINK_FILE]
    #[arg(long, value_name = "FILE")]
    link_file: Option<PathBuf>,
    /// How both ends send: auto, cubic, or your line's rates as in down=95Mbit/s,up=20Mbit/s
    /// [default: auto]
    ///
    /// auto sends what the line is measured to carry, whatever it loses. State rates where you know
    /// the line's and auto stays below them: 95 % of them, since more than the line carries is lost,
    /// and other traffic with it. A direction that is left out is auto; the server may have a limit.
    /// cubic yields to every loss, as most programs do: the least of the three on a bad line.
    #[arg(long, value_name = "HOW", env = "DOCXY_CONGESTION")]
    congestion: Option<Congestion>,
    /// Where public manifests and what registries say of their tokens are kept, so that they need
    /// not be asked for again; may be deleted at any time [default: /var/cache/docxy as root, else
    /// ~/.cache/docxy]
    #[arg(long, value_name = "DIR", env = "DOCXY_CACHE")]
    cache: Option<PathBuf>,
}

/// Keep a link, so that the other commands know their server.
///
/// A link is the line that `docxy-server invite NAME` prints. It is a secret: in an argument, other
/// users of this machine may see it, and your shell remembers it. Without one it is asked for, or
/// read from stdin. Links of several servers may be kept, and a new link of a known server replaces
/// its old one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client join\n  \
    ssh vpn.example.org docxy-server invite laptop | docxy-client join\n\n\
    The link goes to /etc/docxy/links as root, else to ~/.config/docxy/links, or to the config file's \
    link_file. Only you may read it. Then: docxy-client run")]
struct JoinArguments {
    /// The link [env: DOCXY_LINK]
    #[arg(value_parser = secret)]
    link: Option<Secret>,
    /// A file to read the link from [env: DOCXY_LINK_FILE]
    #[arg(long, value_name = "FILE")]
    link_file: Option<PathBuf>,
}

/// Serve the registry API to engines on this machine, until SIGTERM or SIGINT.
///
/// Engines use it as a mirror, or by naming it: 127.0.0.1:5080/library/alpine. It answers from the
/// first moment and connects to the server in the background, for ever; /health says how that goes.
/// When the tunnel is lost in mid-pull, responses stay open and go on over the next one. The first
/// signal lets running responses finish, the second one ends them.
///
/// SIGHUP reads the config file and the links again, and applies hosts, patience, log, and links and
/// congestion: where those two differ, the tunnel is dialled anew, and pulls go on over the new one. A
/// file that is wrong changes nothing. listen and cache take a restart. SIGUSR1 writes to the log what is
/// under way; SIGUSR2 is ignored. A log that cannot be written is dropped and counted, and ends nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client run\n  docker pull 127.0.0.1:5080/library/alpine\n\n\
    For docker as a mirror of Docker Hub, in /etc/docker/daemon.json:\n  \
    { \"registry-mirrors\": [\"http://127.0.0.1:5080\"] }\n\n\
    The environment may hold a link instead: DOCXY_LINK, or DOCXY_LINK_FILE.")]
struct RunArguments {
    /// Address and TCP port to listen on; may be given several times [default: 127.0.0.1:5080]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    reach: Reach,
    /// A further name under which engines reach this client; may be given several times. Names of
    /// loopback are known
    #[arg(long, value_name = "NAME", env = "DOCXY_HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// Listen where other machines can come in as well
    #[arg(long, env = "DOCXY_ALLOW_REMOTE")]
    allow_remote: bool,
    /// How long a pull outlives a lost tunnel: the time without a byte after which its response is
    /// broken off [default: 600]
    #[arg(long, value_name = "SECONDS", env = "DOCXY_PATIENCE")]
    patience: Option<u64>,
    /// A file to write once it listens: the addresses, one a line
    #[arg(long, value_name = "FILE", env = "DOCXY_READY_FILE")]
    ready_file: Option<PathBuf>,
    /// What to log to stderr: off, error, warn, info, debug or trace, also by module as in
    /// warn,docxy_client=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    log: Option<Filter>,
}

/// Fetch an image into a file that `docker load` and `podman load` take, or into an OCI layout.
///
/// Needs no engine, and no running client. Everything is checked against the image's digest;
/// transfers that break are taken up where they broke. Public images only, for now.
///
/// On success stdout gets one line: the image by the digest that its name stands for, ` -> `, and
/// the path.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  docxy-client pull alpine:3.19 -o alpine.tar && docker load -i alpine.tar\n\n\
    prints, when all is there:\n  docker.io/library/alpine@sha256:… -> alpine.tar\n\n\
    More:\n  \
    docxy-client pull ghcr.io/owner/app --platform linux/arm64 -o app/   (an OCI layout)\n  \
    skopeo copy oci:app docker://registry.lan/app"
)]
struct PullArguments {
    /// The image, as docker takes it: alpine, ghcr.io/owner/app:1.2, alpine@sha256:…
    image: ImageName,
    /// Where to put it: a tar if the name ends in .tar, else a directory [default: as in
    /// alpine-latest.tar]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What to take of a multi-platform image: OS/ARCH or OS/ARCH/VARIANT [default: Linux on this
    /// machine's processor]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Replace an image that is there already
    #[arg(long)]
    force: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reach: Reach,
    /// What to log to stderr, beside the progress: off, error, warn, info, debug or trace [default:
    /// error]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    log: Option<Filter>,
}

impl Arguments {
    /// Reads the command line; ends the program where that asks for help or makes no sense.
    #[must_use]
    pub fn read() -> Self {
        let refuse = |error: clap::Error| -> Self {
            // clap quotes what it doesn't understand.
            if error.use_stderr() && error.to_string().contains("docxy://") {
                remark("docxy-client: a link is for `docxy-client join` alone");
                std::process::exit(2);
            }
            error.exit()
        };
        Self::try_parse().unwrap_or_else(refuse)
    }

    /// Does what the arguments ask for.
    ///
    /// # Errors
    /// Where it couldn't be done; the caller tells the user.
    pub fn execute(self) -> Result<(), CommandError> {
        let flags = Flags { config: self.config, ..Flags::default() };
        match self.command {
            Command::Join(JoinArguments { link, link_file }) => {
                join::join(link, &Flags { link_file, ..flags })
            }
            Command::Run(RunArguments { listen, reach, host, allow_remote, patience, ready_file, log }) => {
                let flags = Flags { listen, hosts: host, allow_remote, patience, log, ..flags };
                run::run(&reach.add_to(flags), ready_file)
            }
            Command::Pull(arguments) => {
                let flags = Flags { log: arguments.log.clone(), ..flags };
                let flags = arguments.reach.add_to(flags);
                pull::pull(arguments, &flags)
            }
        }
    }
}

impl Reach {
    fn add_to(&self, flags: Flags) -> Flags {
        let Self { link_file, congestion, cache } = self.clone();
        Flags { link_file, congestion, cache, ..flags }
    }
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A path, for an error that would quote it.
fn no_link(text: &str) -> Result<PathBuf, &'static str> {
    if text.contains("docxy://") { Err("that is a link and no file") } else { Ok(text.into()) }
}

/// Prints a result. An error is one: whoever redirected it relies on it.
fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CommandError::Output)
}

/// Says something to the user that is no result.
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
        assert_eq!(commands.len(), 3);
        for command in commands {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example:\n  docxy-client "), "{help}");
        }
    }

    #[test]
    fn a_link_in_the_arguments_is_not_shown_by_debug_output() {
        let arguments = Arguments::parse_from(["docxy-client", "join", "docxy://a:hunter2@b"]);
        assert!(!format!("{arguments:?}").contains("hunter2"));
    }
}
