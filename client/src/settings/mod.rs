//! What the client runs with: flags, then the environment, then the config file, then defaults.
//!
//! After loading everything is checked and typed, and nobody looks at a flag, a variable or the
//! file again.

mod congestion;
mod file;
mod location;

pub use congestion::{Congestion, CongestionError};

use crate::links::{self, LinksError};
use crate::toml_text::TomlError;
use docxy_host::logging::Filter;
use docxy_protocol::link::{Host, Link};
use docxy_protocol::secret::Secret;
use file::ConfigFile;
use serde::Deserialize;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tracing::Level;

/// The port that engines find the client on unless told otherwise.
pub const DEFAULT_PORT: u16 = 5080;

/// How long a transfer that breaks off waits for its next byte unless told otherwise: outages that
/// people sit out are shorter, and engines hold a response open without any limit of their own.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(600);

/// What counts as for ever, and is still a time that clocks can add.
const LONGEST_PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum SettingsError {
    /// The config file cannot be read.
    #[error("cannot read the config file {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The config file is wrong.
    #[error("{}, {source}", path.display())]
    Config { path: PathBuf, source: TomlError },
    /// The links are wrong.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// Nothing was joined yet.
    #[error(
        "no link is known, so there is no server to ask: run `docxy-client join` and paste the one \
             that `docxy-server invite NAME` printed"
    )]
    NoLink,
    /// Neither root nor a user with a home.
    #[error(
        "there is no place for the links: HOME is not set, so name one as link_file in a config \
             file and pass that with --config FILE"
    )]
    NoDirectory,
    /// Not a name for `Host`.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A listen address that others can reach.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it pulls through your link and \
             your address: listen on 127.0.0.1, or pass --allow-remote if that is what you want"
    )]
    Remote(SocketAddr),
}

/// Why a text is no name for `Host`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name: give it as engines have it, without http:// and without a port")]
pub struct HostError(String);

/// A name or an address as it stands in a `Host` header, less the port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct HostName(String);

impl TryFrom<String> for HostName {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        if is_host(&text) { Ok(Self(text)) } else { Err(HostError(text.chars().take(80).collect())) }
    }
}

/// What the command line says. The environment is added while loading.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The config file.
    pub config: Option<PathBuf>,
    /// A file of links.
    pub link_file: Option<PathBuf>,
    /// Where to listen; empty if nothing was said.
    pub listen: Vec<SocketAddr>,
    /// Names under which engines reach us; empty if nothing was said.
    pub hosts: Vec<String>,
    /// Whether listening beyond this machine is meant.
    pub allow_remote: bool,
    /// How either end sends.
    pub congestion: Option<Congestion>,
    /// Seconds that a transfer waits for its next byte; `None` if nothing was said.
    pub patience: Option<u64>,
    /// The directory for what can be lost without harm.
    pub cache: Option<PathBuf>,
    /// What to log.
    pub log: Option<Filter>,
}

/// What `run` needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; at least one.
    pub listen: Vec<SocketAddr>,
    /// Names, beside those of this machine's loopback, under which engines reach us.
    pub hosts: Vec<String>,
    /// How long a transfer that breaks off waits for its next byte.
    pub patience: Duration,
    /// Where to keep what is known of registries over restarts; `None` keeps it in memory alone.
    pub cache: Option<PathBuf>,
    /// How to get out.
    pub tunnel: TunnelSettings,
    /// What to log.
    pub log: Filter,
}

/// What every command needs that asks a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelSettings {
    /// The servers; at least one.
    pub links: Vec<Link>,
    /// How either end sends.
    pub congestion: Congestion,
}

impl Settings {
    /// Loads all settings, with the links.
    ///
    /// # Errors
    /// Where something that was set makes no sense, or there is no link.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        let config = config(flags)?;
        let listen = first_said(&flags.listen, &config.listen)
            .unwrap_or_else(|| vec![(Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()]);
        let may_be_remote = flags.allow_remote || config.allow_remote;
        if let Some(remote) = listen.iter().find(|address| !may_be_remote && !address.ip().is_loopback()) {
            return Err(SettingsError::Remote(*remote));
        }
        let hosts = flags.hosts.iter().cloned().map(HostName::try_from).collect::<Result<Vec<_>, _>>()?;
        let hosts = first_said(&hosts, &config.hosts).unwrap_or_default();
        let hosts = hosts.into_iter().map(|HostName(name)| name).collect();
        let patience = flags.patience.or(config.patience).map_or(DEFAULT_PATIENCE, Duration::from_secs);
        let patience = patience.min(LONGEST_PATIENCE);
        let cache = cache(flags, &config);
        let log = log(flags, &config, Level::INFO);
        Ok(Self { listen, hosts, patience, cache, tunnel: TunnelSettings::merge(flags, &config)?, log })
    }
}

impl TunnelSettings {
    /// Loads the servers that were joined, or that flag or environment name, and how to speak to
    /// them.
    ///
    /// # Errors
    /// Where there is none, or something that was set makes no sense.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        Self::merge(flags, &config(flags)?)
    }

    fn merge(flags: &Flags, config: &ConfigFile) -> Result<Self, SettingsError> {
        let congestion = flags.congestion.or(config.congestion).unwrap_or_default();
        Ok(Self { links: read_links(flags, config)?, congestion })
    }
}

/// The file that keeps the joined links.
///
/// # Errors
/// Where the config file is wrong, or there is no place for it.
pub fn link_store(flags: &Flags) -> Result<PathBuf, SettingsError> {
    store(&config(flags)?).ok_or(SettingsError::NoDirectory)
}

/// A link, or a file of links, that the user named.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkSource {
    /// `DOCXY_LINK`.
    Variable(Secret),
    /// `--link-file` or `DOCXY_LINK_FILE`.
    File(PathBuf),
}

impl LinkSource {
    /// What flag and environment name, if they do.
    #[must_use]
    pub fn named(flags: &Flags) -> Option<Self> {
        Self::choose(flags, |name| std::env::var_os(name))
    }

    fn choose(flags: &Flags, variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let flag = || flags.link_file.clone().map(Self::File);
        let link = || Some(Self::Variable(Secret::new(set("DOCXY_LINK")?.to_string_lossy())));
        let file = || Some(Self::File(set("DOCXY_LINK_FILE")?.into()));
        flag().or_else(link).or_else(file)
    }

    /// The links; at least one.
    ///
    /// # Errors
    /// Where it cannot be read, or there is none in it.
    pub fn read(&self) -> Result<Vec<Link>, LinksError> {
        match self {
            Self::Variable(text) => links::parse(text.expose(), "DOCXY_LINK"),
            Self::File(path) => links::read(path),
        }
    }
}

fn read_links(flags: &Flags, config: &ConfigFile) -> Result<Vec<Link>, SettingsError> {
    if let Some(source) = LinkSource::named(flags) {
        return Ok(source.read()?);
    }
    match store(config) {
        Some(path) if path.exists() => Ok(links::read(&path)?),
        _ => Err(SettingsError::NoLink),
    }
}

fn store(config: &ConfigFile) -> Option<PathBuf> {
    config.link_file.clone().or_else(|| Some(location::default_directory()?.join("links")))
}

/// The directory for what can be lost without harm; `None` where there is no place for one.
///
/// # Errors
/// Where the config file is wrong.
pub fn cache_store(flags: &Flags) -> Result<Option<PathBuf>, SettingsError> {
    Ok(cache(flags, &config(flags)?))
}

fn cache(flags: &Flags, config: &ConfigFile) -> Option<PathBuf> {
    flags.cache.clone().or_else(|| config.cache.clone()).or_else(location::cache_directory)
}

/// What `pull` logs: errors, unless told otherwise, since people read its progress.
///
/// # Errors
/// Where the config file is wrong.
pub fn pull_log(flags: &Flags) -> Result<Filter, SettingsError> {
    Ok(log(flags, &config(flags)?, Level::ERROR))
}

fn log(flags: &Flags, config: &ConfigFile, default: Level) -> Filter {
    flags.log.clone().or_else(|| config.log.clone()).unwrap_or_else(|| Filter::level(default))
}

/// The config file. None at all counts as an empty one.
fn config(flags: &Flags) -> Result<ConfigFile, SettingsError> {
    let default = location::default_directory().map(|directory| directory.join("client.toml"));
    match flags.config.as_deref().or(default.as_deref().filter(|path| path.exists())) {
        Some(path) => ConfigFile::read(path),
        None => Ok(ConfigFile::default()),
    }
}

/// The first list that says anything.
fn first_said<T: Clone>(flag: &[T], file: &[T]) -> Option<Vec<T>> {
    [flag, file].into_iter().find(|list| !list.is_empty()).map(<[T]>::to_vec)
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<Host>().is_ok_and(|host| host.is_ipv6()),
        None => text.parse::<Host>().is_ok_and(|host| !host.is_ipv6()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "docxy://laptop:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8@example.org:61443\
                        ?pin=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    /// A config file of this text beside a file of links, and flags that name both.
    fn load(text: &str, flags: Flags) -> Result<Settings, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(dir.path().join("my-links"), LINK).unwrap();
        let flags = Flags { config: Some(path), ..flags };
        Settings::load(&flags)
    }

    #[test]
    fn without_any_word_engines_find_us_on_localhost_only() {
        let settings = load("link_file = 'my-links'", Flags::default()).unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:5080".parse().unwrap()]);
        assert_eq!(settings.tunnel.links[0].expose(), LINK);
        assert_eq!(settings.tunnel.congestion, Congestion::default());
        assert!(settings.hosts.is_empty());
        assert_eq!(settings.patience, DEFAULT_PATIENCE);
        assert_eq!(settings.log.to_string(), "info");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let text = "link_file = 'my-links'\nlisten = ['127.0.0.1:1']\nhosts = ['file.lan']\n\
                    cache = '/file'\npatience = 7\nlog = 'warn'\ncongestion = { down = '95 Mbit/s' }";
        let flags = Flags {
            listen: vec!["[::1]:2".parse().unwrap()],
            hosts: vec!["flag.lan".into()],
            patience: Some(8),
            cache: Some("/flag".into()),
            congestion: Some("cubic".parse().unwrap()),
            log: Some("debug".parse().unwrap()),
            ..Flags::default()
        };
        for (flags, port, host, cache, patience, congestion, log) in [
            (Flags::default(), 1, "file.lan", "/file", 7, "down=95 Mbit/s", "warn"),
            (flags, 2, "flag.lan", "/flag", 8, "cubic", "debug"),
        ] {
            let settings = load(text, flags).unwrap();
            assert_eq!((settings.listen[0].port(), &*settings.hosts[0]), (port, host));
            assert_eq!(settings.cache, Some(cache.into()));
            assert_eq!(settings.patience.as_secs(), patience);
            assert_eq!(settings.tunnel.congestion.to_string(), congestion);
            assert_eq!(settings.log.to_string(), log);
        }
    }

    #[test]
    fn listening_for_others_needs_a_word_of_its_own() {
        let config = |more: &str| format!("link_file = 'my-links'\n{more}");
        let listen = "listen = ['127.0.0.1:1', '[::]:1']";
        let error = load(&config(listen), Flags::default()).unwrap_err().to_string();
        assert!(error.starts_with("[::]:1 can be reached") && error.contains("--allow-remote"), "{error}");
        let allowed = Flags { allow_remote: true, ..Flags::default() };
        assert_eq!(load(&config(listen), allowed).unwrap().listen.len(), 2);
        let in_file = format!("{listen}\nallow_remote = true");
        assert_eq!(load(&config(&in_file), Flags::default()).unwrap().listen.len(), 2);
    }

    #[test]
    fn a_mistake_in_the_file_is_told_with_file_and_line() {
        for (text, words) in [
            ("\nlisten_on = []", "client.toml, line 2: unknown field `listen_on`"),
            ("listen = ['nonsense']", "client.toml, line 1: "),
            ("\nhosts = ['http://box.lan']", "client.toml, line 2: \"http://box.lan\" is not a host name"),
            ("hosts = ['box.lan:80']", "\"box.lan:80\" is not a host name"),
            ("link_file = 'no-links'", "docxy-client join"),
            ("\n\nlog = 'inof'", "client.toml, line 3: a log filter is off, error, warn"),
            ("\ncongestion = 'fast'", "client.toml, line 2: congestion is auto, cubic, or rates"),
        ] {
            let error = load(text, Flags::default()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_missing_config_file_is_an_error_if_it_was_asked_for() {
        let flags = Flags { config: Some("/nonexistent/client.toml".into()), ..Flags::default() };
        let error = Settings::load(&flags).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/client.toml"), "{error}");
    }

    #[test]
    fn flag_then_link_then_link_file_of_the_environment() {
        let named = |flag: Option<&str>, set: &[&str]| {
            let flags = Flags { link_file: flag.map(PathBuf::from), ..Flags::default() };
            let variable = |name: &str| set.contains(&name).then(|| OsString::from(name));
            LinkSource::choose(&flags, variable)
        };
        let both = ["DOCXY_LINK_FILE", "DOCXY_LINK"];
        assert_eq!(named(Some("flag"), &both), Some(LinkSource::File("flag".into())));
        assert_eq!(named(None, &both), Some(LinkSource::Variable(Secret::new("DOCXY_LINK"))));
        assert_eq!(named(None, &both[..1]), Some(LinkSource::File("DOCXY_LINK_FILE".into())));
        assert_eq!(named(None, &[]), None);
    }

    #[test]
    fn hosts_are_written_as_engines_send_them() {
        for (text, good) in
            [("box.lan", true), ("10.0.0.2", true), ("[fd00::1]", true), ("fd00::1", false), ("", false)]
        {
            assert_eq!(is_host(text), good, "{text}");
        }
    }
}
