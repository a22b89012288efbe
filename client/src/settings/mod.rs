//! The settings: flags win over the environment, that over the config file, that over the defaults.
//!
//! Everything is checked and typed here. No other module reads a flag, a variable or the file.

mod congestion;
mod error;
mod file;
mod flags;
mod given;
mod host_name;
mod links;
mod networks;
mod proxy;
mod rates;
mod share;
#[cfg(test)]
mod tests;

pub use congestion::CongestionError;
pub use error::SettingsError;
pub use flags::{ConnectionFlags, Flags, ServingFlags};
pub use given::GivenSettings;
pub use host_name::HostNameError;
pub use links::source::{LinkSource, read_links_in_use, warn_of_open_links};
pub use links::store::{
    LinkLine, LinksError, StoredLink, parse_lines, read_stored, remove_link, store_links, trust_link,
};
pub use networks::{Networks, NetworksError};
pub use rates::RatesError;
pub use share::{DEFAULT_SHARE_PORT, NeighbourAddress, NeighbourAddressError, Share, ShareError};

use crate::accounts::logins::CredentialHelper;
use crate::images::warm::WarmSettings;
use crate::tunnel::{JoinedLink, TunnelConfig};
use docxy_host::blob_store::BlobLimits;
use docxy_host::byte_size::ByteSize;
use docxy_host::files::directories::{CLIENT_CACHE, CLIENT_CONFIG, CLIENT_RUNTIME};
use docxy_host::files::toml_file;
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::net::proxy::Environment;
use file::ConfigFile;
use host_name::HostName;
use links::source::{link_file, link_source, load_links};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
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
    /// Where neighbours are served.
    pub share: Share,
    /// The neighbours that are named.
    pub neighbours: Vec<NeighbourAddress>,
    /// How long an interrupted transfer waits for its next byte.
    pub stall_timeout: Duration,
    /// The cache directory; `None` caches in memory only.
    pub cache: Option<PathBuf>,
    /// Which blobs are kept in the directory [`BLOBS`] of the cache.
    pub blobs: BlobSettings,
    /// The images that are fetched ahead of time.
    pub warm: Option<WarmSettings>,
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
        let mut config = config(flags)?;
        let warm = config.warm.take().map(|table| table.settings(&config.path));
        let ServingFlags {
            listen: _,
            hosts,
            allow_remote,
            share,
            neighbours,
            patience,
            wait_for_link: _,
            log_format,
        } = &flags.serving;
        let share = share.unwrap_or(config.share);
        let neighbours = first_set(neighbours, &config.neighbours).unwrap_or_default();
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
            share,
            neighbours,
            stall_timeout,
            cache,
            blobs,
            warm,
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
        let tunnel = TunnelConfig {
            links,
            congestion,
            max_rate,
            leg,
            proxy,
            cache: cache.clone(),
            runtime: CLIENT_RUNTIME.path(),
        };
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
        links::places::adopt()?;
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
