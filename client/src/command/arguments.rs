//! The command line, as the user types it.
//!
//! A link is a secret: nothing here prints one, even if it was typed as another argument.

use super::cache::CacheArguments;
use super::doctor::DoctorArguments;
use super::error::MISPLACED_LINK;
use super::links::NamedServer;
use super::run::service::ServiceArguments;
use super::status::StatusArguments;
use super::warm::WarmArguments;
use crate::accounts::logins::CredentialHelper;
use crate::command::setup::engines::{ENGINES, Engine};
use crate::settings::{ConnectionFlags, ServingFlags};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use docxy_host::logging::Filter;
use docxy_host::net::proxy::ProxyUrlError;
use docxy_host::process::command_line::{CompletionsArguments, ManArguments, VersionArguments};
use docxy_host::process::terminal::print_note;
use docxy_host::process::variables::without_empty;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::link::{Host, find_link};
use docxy_protocol::name::Registry;
use docxy_protocol::platform::Platform;
use docxy_protocol::secret::Secret;
use std::convert::Infallible;
use std::error::Error as _;
use std::path::PathBuf;

/// The client of Docxy: container images for a machine that cannot reach the registries.
#[derive(Debug, Parser)]
#[command(
    name = "docxy-client",
    version,
    after_help = "Example: once, then at every boot, then for each image\n  \
        docxy-client join\n  \
        docxy-client run    (or once: docxy-client service install)\n  \
        docker pull 127.0.0.1:5080/library/alpine\n\n\
        Settings are taken from flags, then from the environment (DOCXY_…), then from the config \
        file, then from the defaults. Exit codes: 0 done, 1 failed, 2 misused."
)]
pub struct Arguments {
    /// The config file, TOML [default: /etc/docxy/client.toml as root, else ~/.config/docxy/client.toml, if
    /// it exists]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CONFIG", value_parser = no_link)]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Join(JoinArguments),
    Links(LinksArguments),
    Login(LoginArguments),
    Logout(LogoutArguments),
    Run(RunArguments),
    Pull(PullArguments),
    Warm(WarmArguments),
    Setup(SetupArguments),
    Cache(CacheArguments),
    Doctor(DoctorArguments),
    Status(StatusArguments),
    Service(ServiceArguments),
    #[command(after_help = "Example:\n  docxy-client completions bash >/etc/bash_completion.d/docxy-client")]
    Completions(CompletionsArguments),
    #[command(hide = true, after_help = "Example:\n  docxy-client man target/man")]
    Man(ManArguments),
    #[command(after_help = "Example:\n  docxy-client version")]
    Version(VersionArguments),
}

/// Check a link with its server and store it, so that the other commands know their server.
///
/// A link that the server refuses is not stored. If the server cannot be reached within 10 seconds, it is, with a
/// warning. A running client takes it at once.
///
/// A link is the line that `docxy-server invite NAME` prints. It is a secret: in an argument, other users of
/// this machine may see it, and your shell stores it. Without an argument it is read from a prompt or from
/// stdin. Links of several servers may be stored, and all are used: see --trusted. A new link of a known host with the
/// same ports replaces the old one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client join\n  \
    ssh vpn.example.org sudo docxy-server invite laptop | docxy-client join\n\n\
    The link goes to /var/lib/docxy-client/links as root, where the system's service reads it, else to \
    ~/.config/docxy/links, or to the config file's link_file. Others may not read it. Then: docxy-client run")]
pub(super) struct JoinArguments {
    /// The link [env: DOCXY_LINK]
    #[arg(value_parser = secret)]
    pub(super) link: Option<Secret>,
    /// A file to read the link from [env: DOCXY_LINK_FILE]
    #[arg(long, value_name = "FILE")]
    pub(super) link_file: Option<PathBuf>,
    /// Logins, tokens and private images may go to this server, as to the first one that was joined. Others get
    /// requests that everybody could send
    #[arg(long)]
    pub(super) trusted: bool,
    /// Do not contact the server
    #[arg(long)]
    pub(super) offline: bool,
}

/// List the joined links, remove some, or trust a server.
///
/// Each line has the server's host and ports, the name of this client there, and whether the server is trusted. No
/// secret is shown.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client links\n  docxy-client links remove vpn.example.org\n  \
    docxy-client links trust other.example.org:61443")]
pub(super) struct LinksArguments {
    #[command(subcommand)]
    pub(super) command: Option<LinksCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum LinksCommand {
    /// Remove the link to a server
    Remove {
        /// The host or, if it has several servers, the host with one's ports, as `docxy-client links` shows them
        #[arg(value_name = "HOST[:PORTS]")]
        server: NamedServer,
    },
    /// Let logins, tokens and private images go to a server, as `join --trusted` does
    Trust {
        /// The host or, if it has several servers, the host with one's ports, as `docxy-client links` shows them
        #[arg(value_name = "HOST[:PORTS]")]
        server: NamedServer,
    },
}

/// Use an account for a registry: engines on this machine then pull its private images by their plain names.
///
/// The registry verifies the account, through the tunnel, before it is kept: in the file `logins` beside the links,
/// which only you may read, or in a credential helper (docker-credential-NAME). A running client uses it at once, and
/// for engines on this machine that show no credential of their own: so every user of this machine can pull what the
/// account can. It goes to trusted servers only, and what it opens is not written to the cache directory.
///
/// The password is read without echo, or from stdin. Many registries want an access token in its place: Docker Hub
/// for accounts with a second factor, ghcr.io a personal access token with read:packages.
///
/// A password that the registry no longer accepts is not used for a while, so that the account is not locked: log in
/// again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client login\n  docxy-client login ghcr.io -u me <token.txt\n  \
    docxy-client login 1.dkr.ecr.eu-west-1.amazonaws.com --helper ecr-login\n  docxy-client login --import")]
pub(super) struct LoginArguments {
    /// The registry
    #[arg(default_value = "docker.io", conflicts_with = "import")]
    pub(super) registry: Registry,
    /// The user's name
    #[arg(short, long, value_parser = user)]
    pub(super) user: Option<String>,
    /// The program docker-credential-NAME keeps the password. Without --user, it has it already, or makes short-lived
    /// ones, and is asked again when one is refused
    #[arg(long, value_name = "NAME")]
    pub(super) helper: Option<CredentialHelper>,
    /// Take the logins of Docker from its config.json, with their credential helpers [default: that of this user]
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["user", "helper"], value_parser = no_link)]
    pub(super) import: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
}

/// Forget the account for a registry. A running client stops using it at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client logout ghcr.io")]
pub(super) struct LogoutArguments {
    /// The registry
    #[arg(default_value = "docker.io")]
    pub(super) registry: Registry,
}

/// Serve the registry API to engines on this machine, until SIGTERM or SIGINT.
///
/// Engines use it as a mirror, or by naming it: 127.0.0.1:5080/library/alpine. It serves from the start and
/// connects to the server in the background; /health shows the state. If the tunnel is lost during a pull,
/// responses stay open and continue over the next one. `docxy-client pull` of the same user uses the tunnel too,
/// through a private socket: client.sock in $RUNTIME_DIRECTORY, or where the log says. The first signal lets running responses finish, the
/// second one ends them.
///
/// A change of the links, by `join` or `links`, takes effect at once. SIGHUP reads the config file and the links again, and applies hosts, patience, log, warm, links, congestion,
/// max_rate, leg and proxy. Links that have changed are dialed again, all if one of the last four has, and pulls
/// continue over the new connections. A file that is not valid changes nothing. listen, share, neighbours, cache and cache_size need a restart. SIGUSR1 writes the current state to
/// the log; SIGUSR2 is ignored. Log lines that cannot be written are dropped and counted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client run\n  docker pull 127.0.0.1:5080/library/alpine\n\n\
    For plain names: docxy-client setup\n\n\
    The environment may hold a link instead: DOCXY_LINK, or DOCXY_LINK_FILE.")]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) serving: ServingFlags,
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    /// A file for the listen addresses, one on each line, written when the client listens
    #[arg(long, value_name = "FILE", env = "DOCXY_READY_FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// What to log to stderr: off, error, warn, info or debug, also by module as in
    /// warn,docxy_client=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    pub(super) log: Option<Filter>,
}

/// Fetch an image into a file that `docker load` and `podman load` take, or into an OCI layout.
///
/// Needs no engine, and no running client. Everything is verified against the digest of the image; interrupted
/// transfers are resumed. Until an image is complete, it is a hidden file beside its path, or, for stdout, in the
/// folder for temporary files. A private image needs a login (docxy-client login), or --creds.
///
/// If `docxy-client run` runs as the same user, its tunnel and its cache are used. It dials itself if
/// --link-file, --congestion, --max-rate, --leg, --proxy, --cache or --config, or their variables, say something else than
/// the running client has, or if that is of another version or refused by its servers. If it ends, the pull goes on with
/// a tunnel of its own.
///
/// On success stdout gets one line for each image: it with the digest of its reference, ` -> `, and the path. With
/// `-o -` that goes to stderr.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  docxy-client pull alpine:3.19 -o alpine.tar && docker load -i alpine.tar\n\n\
    prints when it is complete:\n  docker.io/library/alpine@sha256:… -> alpine.tar\n\n\
    More:\n  \
    docxy-client pull ghcr.io/owner/app --platform linux/arm64 -o app/   (an OCI layout)\n  \
    skopeo copy oci:app docker://registry.lan/app\n  \
    docxy-client pull alpine -o - | docker load\n  \
    docxy-client pull ghcr.io/me/private --creds me <token.txt\n  \
    docxy-client pull alpine busybox:1.36 -o images/   (several, into a directory that exists)"
)]
pub(super) struct PullArguments {
    /// The images, as for docker: alpine, ghcr.io/owner/app:1.2, alpine@sha256:…
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<ImageName>,
    /// Where to write it: stdout for -, a tar if the name ends in .tar, else a directory [default: as in
    /// alpine-latest.tar]. For several images a directory that exists, in which each gets its default name
    #[arg(short, long, value_name = "PATH")]
    pub(super) output: Option<PathBuf>,
    /// The platform of a multi-platform image: OS/ARCH or OS/ARCH/VARIANT [default: Linux on the processor of
    /// this machine]
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<Platform>,
    /// Replace an existing image
    #[arg(long)]
    pub(super) force: bool,
    /// Use this user's account, instead of a stored login. Its password is DOCXY_PASSWORD in the environment, or else
    /// is read from a prompt or from stdin. All images must be of one registry
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(super) creds: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    /// What to log to stderr in addition to the progress: off, error, warn, info or debug [default: error]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    pub(super) log: Option<Filter>,
}

/// Make an engine pull through this client, by its own config files.
///
/// Adds what is needed to the files, keeps their comments, order, mode and owner, and keeps a copy that ends in
/// .before-docxy. It can be run again, also with other flags. Pulls of the registries ask Docxy alone, so that you see
/// its errors; pushes go to the registry as before. Files that are not valid are refused. Without an engine it says
/// what it would do for those that are installed. As root it changes the system's files, else the user's.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client setup\n  docxy-client setup docker --print\n  \
    sudo docxy-client setup docker --apply\n  sudo docxy-client setup docker --undo --apply")]
pub(super) struct SetupArguments {
    /// The engine
    #[arg(value_parser = engines())]
    pub(super) engine: Option<&'static Engine>,
    /// A registry; may be repeated [default: those that the server of a running client serves, or else Docker Hub and
    /// the well-known ones that --print shows]
    #[arg(long = "registry", value_name = "R")]
    pub(super) registries: Vec<Registry>,
    /// Show the files as they would be, and change nothing. The engine need not be installed
    #[arg(long, requires = "engine", conflicts_with = "apply")]
    pub(super) print: bool,
    /// Make the engine read its files again, if it must
    #[arg(long, requires = "engine")]
    pub(super) apply: bool,
    /// Take away what setup wrote. A file that was not changed since becomes what it was, to the byte
    #[arg(long, requires = "engine")]
    pub(super) undo: bool,
    /// Let the engine ask the registry itself when Docxy fails, where it can be told
    #[arg(long)]
    pub(super) keep_fallback: bool,
    /// The host by which the engine reaches this client, with a port if it is not the client's [default: 127.0.0.1, or
    /// the host's name in the engine's virtual machine]
    #[arg(long, value_name = "HOST", value_parser = via)]
    pub(super) via: Option<String>,
}

/// A user was not named alone.
#[derive(Debug, thiserror::Error)]
#[error(
    "name the user alone, without a password, which other users of this machine could see: it is read from stdin"
)]
struct NotAUser;

/// A user's name.
fn user(text: &str) -> Result<String, NotAUser> {
    if text.is_empty() || text.contains(':') { Err(NotAUser) } else { Ok(text.to_owned()) }
}

/// The names of the engines, with how far each was tried.
fn engines() -> impl TypedValueParser<Value = &'static Engine> {
    let value = |engine: &'static Engine| {
        PossibleValue::new(engine.name).aliases(engine.aliases()).help(engine.evidence)
    };
    PossibleValuesParser::new(ENGINES.iter().map(value))
        .map(|name| Engine::named(&name).expect("the names are the engines' own"))
}

/// A host, or a host with a port.
fn via(text: &str) -> Result<String, &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, "1"),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_valid = host.parse::<Host>().is_ok() && port.parse::<u16>().is_ok();
    if is_valid { Ok(text.to_owned()) } else { Err("this is not a host, or HOST:PORT") }
}

impl Arguments {
    /// Parses the command line. Ends the program for help, and for misuse.
    #[must_use]
    pub fn read() -> Self {
        let refuse = |error: clap::Error| -> Self {
            // clap quotes unknown arguments.
            if error.use_stderr() && find_link(&error.to_string()).is_some() {
                print_note(&format!("docxy-client: {MISPLACED_LINK}"));
                std::process::exit(2);
            }
            if let Some(why) = secret_error(&error) {
                print_note(&format!("docxy-client: {why}"));
                std::process::exit(2);
            }
            error.exit()
        };
        Self::try_read().unwrap_or_else(refuse)
    }

    fn try_read() -> Result<Self, clap::Error> {
        let mut program = without_empty(Self::command());
        let mut matches = program.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut program))
    }
}

/// What is wrong with a proxy or a user. clap's own text quotes the argument, which may contain a password.
fn secret_error(error: &clap::Error) -> Option<String> {
    let source = error.source()?;
    let of_proxy = source.downcast_ref::<ProxyUrlError>().map(|why| format!("--proxy: {why}"));
    of_proxy.or_else(|| Some(source.downcast_ref::<NotAUser>()?.to_string()))
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A path. Refuses a link, which the error would quote.
fn no_link(text: &str) -> Result<PathBuf, &'static str> {
    if find_link(text).is_some() { Err("this is a link, not a file") } else { Ok(text.into()) }
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
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example:\n  docxy-client "), "{help}");
        }
    }

    #[test]
    fn a_link_in_the_arguments_is_not_shown_by_debug_output() {
        let arguments = Arguments::parse_from(["docxy-client", "join", "docxy://a:hunter2@b"]);
        assert!(!format!("{arguments:?}").contains("hunter2"));
    }

    #[test]
    fn shells_complete_every_command_and_each_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        ManArguments { directory: dir.path().to_owned() }.run(Arguments::command()).unwrap();
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let page = std::fs::read_to_string(dir.path().join(format!("docxy-client-{name}.1"))).unwrap();
            assert!(page.contains("Example"), "{page}");
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = completions(shell, Arguments::command());
                assert!(script.contains(name), "{shell} {name}");
            }
        }
        assert!(dir.path().join("docxy-client.1").exists());
    }

    #[test]
    fn help_and_version_are_commands_too() {
        for (command, expected) in
            [("help", "Usage: docxy-client"), ("help join", "Usage: docxy-client join")]
        {
            let line = format!("docxy-client {command}");
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 0);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Arguments::try_parse_from(["docxy-client", "version"]).is_ok());
    }
}
