//! The settings: flags win over the environment, that over the config file, that over the defaults.
//!
//! Everything is checked and typed here. No other module reads a flag, a variable or the file.

mod congestion;
mod error;
mod file;
mod flags;
mod given;
mod host_name;
mod link_places;
mod link_store;
mod networks;
mod proxy;
mod rates;

pub use congestion::CongestionError;
pub use error::SettingsError;
pub use flags::{ConnectionFlags, Flags, ServingFlags};
pub use given::GivenSettings;
pub use host_name::HostNameError;
pub use link_store::{
    LinkLine, LinksError, StoredLink, parse_lines, read_stored, remove_link, store_links, trust_link,
};
pub use networks::{Networks, NetworksError};
pub use rates::RatesError;

use crate::logins::CredentialHelper;
use crate::tunnel::{JoinedLink, TunnelConfig};
use docxy_host::blob_store::BlobLimits;
use docxy_host::byte_size::ByteSize;
use docxy_host::directories::{CLIENT_CACHE, CLIENT_CONFIG};
use docxy_host::listen_address::ListenAddress;
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::private_file;
use docxy_host::proxy::Environment;
use docxy_host::toml_file;
use docxy_protocol::secret::Secret;
use file::ConfigFile;
use host_name::HostName;
use link_places::default_link_file;
use link_store::{combine, is_emptied, read_lines};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::Level;

/// The default port for engines.
pub const DEFAULT_PORT: u16 = 5080;

/// The default time that an interrupted transfer waits for its next byte. Most outages are shorter, and
/// engines keep a response open without a limit.
pub const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest stall timeout, a year: longer values could overflow.
const STALL_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The default time for which a blob counts as public after a proof.
pub const DEFAULT_PUBLIC_FOR: Duration = Duration::from_secs(24 * 3600);

/// The settings of `run`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listen addresses; at least one.
    pub listen: Vec<ListenAddress>,
    /// The host names that engines may use, beside those of loopback.
    pub hosts: Vec<String>,
    /// The networks of other machines whose engines may use this client.
    pub networks: Networks,
    /// How long an interrupted transfer waits for its next byte.
    pub stall_timeout: Duration,
    /// The cache directory; `None` caches in memory only.
    pub cache: Option<PathBuf>,
    /// Which blobs are kept in the directory [`BLOBS`] of the cache.
    pub blobs: BlobSettings,
    /// The file that the links are from; `None` if they are from the environment.
    pub link_file: Option<PathBuf>,
    /// The file with the logins; `None` if there is no directory for it.
    pub logins: Option<PathBuf>,
    /// The servers, and how to send to them.
    pub tunnel: TunnelConfig,
    /// What to log.
    pub log: Filter,
    /// How its lines look.
    pub log_format: LogFormat,
}

impl Settings {
    /// Loads all settings, with the links.
    ///
    /// # Errors
    /// If a setting is not valid, or there is no link.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        let settings = Self::reload(flags)?;
        let may_start = !settings.tunnel.links.is_empty() || flags.serving.wait_for_link;
        if may_start { Ok(settings) } else { Err(SettingsError::NoLink) }
    }

    /// The same for a client that runs: the last link may have been removed since its start.
    ///
    /// # Errors
    /// If a setting is not valid, or the links are missing.
    pub fn reload(flags: &Flags) -> Result<Self, SettingsError> {
        let config = config(flags)?;
        let ServingFlags { listen: _, hosts, allow_remote, patience, wait_for_link: _, log_format } =
            &flags.serving;
        let log_format = log_format.or(config.log_format).unwrap_or_default();
        let listen = listen_addresses(flags, &config);
        let networks = allow_remote.clone().unwrap_or_else(|| config.allow_remote.clone());
        let remote =
            listen.iter().filter_map(|address| address.exact()).find(|address| !address.ip().is_loopback());
        if let Some(remote) = remote.filter(|_| networks.is_empty()) {
            return Err(SettingsError::Remote(remote));
        }
        let hosts = hosts.iter().cloned().map(HostName::try_from).collect::<Result<Vec<_>, _>>()?;
        let hosts = first_set(&hosts, &config.hosts).unwrap_or_default();
        let hosts = hosts.into_iter().map(|HostName(name)| name).collect();
        let stall_timeout = patience.or(config.patience).map_or(DEFAULT_STALL_TIMEOUT, Duration::from_secs);
        let stall_timeout = stall_timeout.min(STALL_TIMEOUT_MAX);
        let link_file = match link_source(flags, &config) {
            Some(LinkSource::File(path)) => Some(path),
            _ => None,
        };
        let links = load_links(flags, &config)?;
        let ConnectionSettings { tunnel, cache, blobs, logins, credential_helper: _, log } =
            ConnectionSettings::of(flags, config, links, Level::INFO)?;
        Ok(Self {
            listen,
            hosts,
            networks,
            stall_timeout,
            cache,
            blobs,
            link_file,
            logins,
            tunnel,
            log,
            log_format,
        })
    }
}

/// The directory of blobs in the cache directory.
pub const BLOBS: &str = "blobs";

/// Which blobs are kept on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobSettings {
    /// The disk space that they may use; `None` if none is kept.
    pub limits: Option<BlobLimits>,
    /// Whether private ones are kept too.
    pub keeps_private: bool,
    /// The time for which a blob counts as public after a proof.
    pub public_for: Duration,
}

/// The settings of each command that connects.
#[derive(Debug)]
pub struct ConnectionSettings {
    /// The servers, and how to send to them.
    pub tunnel: TunnelConfig,
    /// The cache directory; `None` caches in memory only.
    pub cache: Option<PathBuf>,
    /// Which blobs are kept there.
    pub blobs: BlobSettings,
    /// The file with the logins; `None` if there is no directory for it.
    pub logins: Option<PathBuf>,
    /// The program that keeps the passwords of new logins, if the file does not.
    pub credential_helper: Option<CredentialHelper>,
    /// What to log.
    pub log: Filter,
}

impl ConnectionSettings {
    /// Loads the settings, with the links, if there are any. `default_level` is logged if nothing else is set.
    ///
    /// # Errors
    /// If a setting is not valid.
    pub fn load(flags: &Flags, default_level: Level) -> Result<Self, SettingsError> {
        let config = config(flags)?;
        let links = match load_links(flags, &config) {
            Err(SettingsError::NoLink) => Vec::new(),
            links => links?,
        };
        Self::of(flags, config, links, default_level)
    }

    /// The same without the links, for a command that brings one.
    ///
    /// # Errors
    /// If a setting is not valid.
    pub fn without_links(flags: &Flags) -> Result<Self, SettingsError> {
        Self::of(flags, config(flags)?, Vec::new(), Level::ERROR)
    }

    fn of(
        flags: &Flags,
        config: ConfigFile,
        links: Vec<JoinedLink>,
        default_level: Level,
    ) -> Result<Self, SettingsError> {
        let ConnectionFlags { link_file: _, congestion, max_rate, leg, proxy, cache, cache_size } =
            flags.connection.clone();
        // Beside the links.
        let logins = link_file(&config).map(|links| links.with_file_name("logins"));
        let congestion = congestion.or(config.congestion).unwrap_or_default();
        let max_rate = max_rate.or(config.max_rate).unwrap_or_default();
        let proxy = proxy::proxy(proxy, &Environment::of_process(), config.proxy, &config.path)?;
        let leg = proxy::leg(leg.or(config.leg), proxy.as_ref())?;
        let cache = cache.or(config.cache).or_else(|| CLIENT_CACHE.path());
        let blobs = BlobSettings {
            limits: match cache_size.or(config.cache_size) {
                Some(ByteSize(0)) => None,
                size => {
                    Some(BlobLimits { bytes_max: size.map(|ByteSize(bytes)| bytes), ..BlobLimits::default() })
                }
            },
            keeps_private: config.cache_private,
            public_for: config.public_for.map_or(DEFAULT_PUBLIC_FOR, Duration::from_secs),
        };
        let tunnel = TunnelConfig { links, congestion, max_rate, leg, proxy, cache: cache.clone() };
        let log = flags.log.clone().or(config.log).unwrap_or_else(|| Filter::level(default_level));
        Ok(Self { tunnel, cache, blobs, logins, credential_helper: config.credential_helper, log })
    }
}

/// The file with the joined links.
///
/// # Errors
/// If the config file is not valid, or there is no directory for the links.
pub fn link_file_path(flags: &Flags) -> Result<PathBuf, SettingsError> {
    link_file(&config(flags)?).ok_or(SettingsError::NoDirectory)
}

/// Moves the links of an earlier version to where the system's service can read them, if that is their place.
///
/// # Errors
/// If the config file is not valid, or they cannot be moved. They are then where they were.
pub fn adopt_links(flags: &Flags) -> Result<(), SettingsError> {
    if config(flags)?.link_file.is_none() {
        link_places::adopt()?;
    }
    Ok(())
}

/// Where a client with these flags is reached on this machine; at least one address.
///
/// # Errors
/// If the config file is not valid.
pub fn listen(flags: &Flags) -> Result<Vec<SocketAddr>, SettingsError> {
    let listen = listen_addresses(flags, &config(flags)?);
    Ok(listen
        .into_iter()
        .map(|address| address.exact().unwrap_or((Ipv4Addr::LOCALHOST, address.port()).into()))
        .collect())
}

fn listen_addresses(flags: &Flags, config: &ConfigFile) -> Vec<ListenAddress> {
    let default = || vec![ListenAddress::Exact((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into())];
    first_set(&flags.serving.listen, &config.listen.0).unwrap_or_else(default)
}

/// The port of the first listen address, for engines' config files.
///
/// # Errors
/// If the config file is not valid.
pub fn listen_port(flags: &Flags) -> Result<u16, SettingsError> {
    Ok(config(flags)?.listen.0.first().map_or(DEFAULT_PORT, |address| address.port()))
}

/// Warns if other users of this machine may read or change the file with the links.
pub fn warn_of_open_links(link_file: Option<&Path>) {
    if let Some(path) = link_file.filter(|path| private_file::is_open_to_others(path)) {
        let path = path.display();
        tracing::warn!(
            "{path} holds secrets, and other users of this machine may read or change it: run chmod 600 {path}"
        );
    }
}

/// A link or a file of links that the user named.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkSource {
    /// `DOCXY_LINK`.
    Variable(Secret),
    /// `--link-file` or `DOCXY_LINK_FILE`.
    File(PathBuf),
}

impl LinkSource {
    /// The file of the flag `--link-file`, or the one in the environment, if any.
    #[must_use]
    pub fn named(flag: Option<PathBuf>) -> Option<Self> {
        Self::choose(flag, |name| std::env::var_os(name))
    }

    fn choose(flag: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let link = || Some(Self::Variable(Secret::new(set("DOCXY_LINK")?.to_string_lossy())));
        let file = || Some(Self::File(set("DOCXY_LINK_FILE")?.into()));
        flag.map(Self::File).or_else(link).or_else(file)
    }

    /// The links; at least one.
    ///
    /// # Errors
    /// If it cannot be read, or holds no link.
    pub fn read(&self) -> Result<Vec<LinkLine>, LinksError> {
        match self {
            Self::Variable(text) => parse_lines(text.expose(), "DOCXY_LINK"),
            Self::File(path) => read_lines(path),
        }
    }
}

fn load_links(flags: &Flags, config: &ConfigFile) -> Result<Vec<JoinedLink>, SettingsError> {
    match link_source(flags, config) {
        Some(LinkSource::File(path)) if flags.serving.wait_for_link && !path.exists() => Ok(Vec::new()),
        Some(LinkSource::File(path)) => Ok(read_links_in_use(&path)?),
        Some(source) => Ok(combine(source.read()?)),
        None => Err(SettingsError::NoLink),
    }
}

/// The links that the user names, or the joined ones.
fn link_source(flags: &Flags, config: &ConfigFile) -> Option<LinkSource> {
    let is_used = |path: &PathBuf| flags.serving.wait_for_link || path.exists();
    let joined = || Some(LinkSource::File(link_file(config).filter(is_used)?));
    LinkSource::named(flags.connection.link_file.clone()).or_else(joined)
}

/// The links in a file that a client uses. There is none if the last one was removed.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub fn read_links_in_use(path: &Path) -> Result<Vec<JoinedLink>, LinksError> {
    if is_emptied(path) { Ok(Vec::new()) } else { Ok(combine(read_lines(path)?)) }
}

fn link_file(config: &ConfigFile) -> Option<PathBuf> {
    config.link_file.clone().or_else(default_link_file)
}

impl Flags {
    /// The same flags for a running client: if a default config file exists, they name it. A reload then
    /// reports an error if the file is missing, instead of applying the defaults.
    #[must_use]
    pub fn with_config_found(self) -> Self {
        let default = || toml_file::existing(CLIENT_CONFIG.path()?.join("client.toml"));
        Self { config: self.config.or_else(default), ..self }
    }
}

/// The config file. A missing one counts as empty.
fn config(flags: &Flags) -> Result<ConfigFile, SettingsError> {
    match &flags.clone().with_config_found().config {
        Some(path) => Ok(ConfigFile::read(path)?),
        None => Ok(ConfigFile::default()),
    }
}

/// The first list that is not empty.
fn first_set<T: Clone>(flag: &[T], file: &[T]) -> Option<Vec<T>> {
    [flag, file].into_iter().find(|list| !list.is_empty()).map(<[T]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::Congestion;

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
    fn by_default_the_client_listens_on_localhost() {
        let settings = load("link_file = 'my-links'", Flags::default()).unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:5080".parse().unwrap()]);
        assert!(settings.link_file.is_some_and(|file| file.ends_with("my-links")));
        assert_eq!(settings.tunnel.links[0].link.expose(), LINK);
        assert_eq!(settings.tunnel.congestion, Congestion::default());
        assert!(settings.hosts.is_empty());
        assert_eq!(settings.stall_timeout, DEFAULT_STALL_TIMEOUT);
        assert_eq!(settings.log.to_string(), "info");
        let limits = Some(BlobLimits::default());
        let blobs = BlobSettings { limits, keeps_private: false, public_for: DEFAULT_PUBLIC_FOR };
        assert_eq!(settings.blobs, blobs);
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let text = "link_file = 'my-links'\nlisten = ['127.0.0.1:1']\nhosts = ['file.lan']\n\
                    cache = '/file'\ncache_size = '5 GB'\npatience = 7\nlog = 'warn'\ncongestion = { down = '95 Mbps' }\nleg = 'tcp'";
        let serving = ServingFlags {
            listen: vec!["[::1]:2".parse().unwrap()],
            hosts: vec!["flag.lan".into()],
            patience: Some(8),
            ..ServingFlags::default()
        };
        let connection = ConnectionFlags {
            cache: Some("/flag".into()),
            cache_size: Some(ByteSize(0)),
            congestion: Some("cubic".parse().unwrap()),
            max_rate: None,
            leg: Some("quic".parse().unwrap()),
            proxy: None,
            link_file: None,
        };
        let flags = Flags { connection, serving, log: Some("debug".parse().unwrap()), config: None };
        for (flags, port, host, cache, size, patience, congestion, leg, log) in [
            (
                Flags::default(),
                1,
                "file.lan",
                "/file",
                Some(5_000_000_000),
                7,
                "down=95 Mbit/s",
                "tcp",
                "warn",
            ),
            (flags, 2, "flag.lan", "/flag", None, 8, "cubic", "quic", "debug"),
        ] {
            let settings = load(text, flags).unwrap();
            assert_eq!((settings.listen[0].port(), &*settings.hosts[0]), (port, host));
            assert_eq!(settings.cache, Some(cache.into()));
            assert_eq!(settings.blobs.limits.and_then(|limits| limits.bytes_max), size);
            assert_eq!(settings.stall_timeout.as_secs(), patience);
            assert_eq!(settings.tunnel.congestion.to_string(), congestion);
            assert_eq!(settings.tunnel.leg, leg.parse().unwrap());
            assert_eq!(settings.log.to_string(), log);
        }
    }

    #[test]
    fn listening_beyond_loopback_needs_a_setting() {
        let config = |more: &str| format!("link_file = 'my-links'\n{more}");
        let listen = "listen = ['127.0.0.1:1', '[::]:1']";
        let error = load(&config(listen), Flags::default()).unwrap_err().to_string();
        assert!(error.starts_with("[::]:1 can be reached") && error.contains("--allow-remote"), "{error}");
        let serving =
            ServingFlags { allow_remote: Some("192.168.1.0/24".parse().unwrap()), ..ServingFlags::default() };
        let allowed = Flags { serving, ..Flags::default() };
        assert_eq!(load(&config(listen), allowed).unwrap().listen.len(), 2);
        for local in ["5081", "':5081'", "'localhost:5081'", "'127.0.0.1:5090'", "['[::1]:5081', '5081']"] {
            assert!(load(&config(&format!("listen = {local}")), Flags::default()).is_ok(), "{local}");
        }
        let in_file = format!("{listen}\nallow_remote = ['192.168.1.0/24']");
        assert_eq!(load(&config(&in_file), Flags::default()).unwrap().listen.len(), 2);
    }

    #[test]
    fn a_mistake_in_the_file_is_reported_with_file_and_line() {
        for (text, words) in [
            ("\nlisten_on = []", "client.toml, line 2: unknown field `listen_on`"),
            ("listen = ['nonsense']", "client.toml, line 1: \"nonsense\" is no address to listen on"),
            ("\nhosts = ['http://box.lan']", "client.toml, line 2: \"http://box.lan\" is not a host name"),
            ("hosts = ['box.lan:80']", "\"box.lan:80\" is not a host name"),
            ("link_file = 'no-links'", "docxy-client join"),
            (
                "\nproxy = 'http://p:1'",
                "client.toml, line 2: invalid type: string, expected a table with url",
            ),
            (
                "\nmax_rate = { down = 50 }",
                "line 2: invalid type: integer, expected a rate in quotes, as in down =",
            ),
            ("\n\nlog = 'inof'", "client.toml, line 3: a log filter is off, error, warn"),
            ("\ncache_size = 20", "line 2: \"20\" is no size: write a number and a unit, as in 20 GB"),
            ("\nleg = 'udp'", "client.toml, line 2: leg is auto, quic or tcp"),
            ("\ncongestion = 'fast'", "client.toml, line 2: congestion: write auto, cubic, or rates"),
        ] {
            let error = load(text, Flags::default()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_last_link_may_be_removed_from_a_client_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (config, links) = (dir.path().join("client.toml"), dir.path().join("links"));
        std::fs::write(&config, "link_file = 'links'").unwrap();
        let flags = Flags { config: Some(config), ..Flags::default() };
        let line = LinkLine { link: LINK.parse().unwrap(), trust: None };
        store_links(&links, vec![line]).unwrap();
        assert_eq!(Settings::load(&flags).unwrap().tunnel.links.len(), 1);
        remove_link(&links, |_| Ok::<_, LinksError>(0)).unwrap();
        assert!(Settings::reload(&flags).unwrap().tunnel.links.is_empty());
        assert!(matches!(Settings::load(&flags), Err(SettingsError::NoLink)));
        assert_eq!(ConnectionSettings::load(&flags, Level::INFO).unwrap().tunnel.links, []);
        // This is no removal.
        std::fs::write(&links, "").unwrap();
        assert!(Settings::reload(&flags).is_err());
        // A service may start before the first `join`.
        std::fs::remove_file(&links).unwrap();
        let serving = ServingFlags { wait_for_link: true, ..ServingFlags::default() };
        let waiting = Flags { serving, ..flags };
        for settings in [Settings::load(&waiting), Settings::reload(&waiting)] {
            assert!(settings.unwrap().tunnel.links.is_empty());
        }
    }

    #[test]
    fn the_example_in_the_readme_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let (_, text) = include_str!("../../README.md").split_once("```toml\n").unwrap();
        let (text, _) = text.split_once("```").unwrap();
        let text = text.replace("/home/me", &dir.path().display().to_string());
        std::fs::create_dir_all(dir.path().join(".config/docxy")).unwrap();
        std::fs::write(dir.path().join("links"), LINK).unwrap();
        std::fs::write(dir.path().join(".config/docxy/proxy-password"), "hunter2").unwrap();
        assert_eq!(load(&text, Flags::default()).unwrap().hosts, ["mybox.lan"]);
    }

    #[test]
    fn a_missing_config_file_that_was_named_is_an_error() {
        let flags = Flags { config: Some("/nonexistent/client.toml".into()), ..Flags::default() };
        let error = Settings::load(&flags).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/client.toml"), "{error}");
    }

    #[test]
    fn a_flag_wins_over_the_link_in_the_environment() {
        let named = |flag: Option<&str>, set: &[&str]| {
            let variable = |name: &str| set.contains(&name).then(|| OsString::from(name));
            LinkSource::choose(flag.map(PathBuf::from), variable)
        };
        let both = ["DOCXY_LINK_FILE", "DOCXY_LINK"];
        assert_eq!(named(Some("flag"), &both), Some(LinkSource::File("flag".into())));
        assert_eq!(named(None, &both), Some(LinkSource::Variable(Secret::new("DOCXY_LINK"))));
        assert_eq!(named(None, &both[..1]), Some(LinkSource::File("DOCXY_LINK_FILE".into())));
        assert_eq!(named(None, &[]), None);
    }
}
