//! The server's settings: from flags, then the environment, then the config file, then defaults.
//!
//! clap reads flags and the environment together. After loading, all settings are checked and typed. Other
//! modules must never read a flag or the file themselves.

mod error;
mod file;
mod flags;
mod proxy;
pub mod registry;
mod repository_rules;
mod resolve;
mod tls;

use crate::address::PublicAddress;
use docxy_host::byte_size::ByteSize;
use docxy_host::files::directories::{SERVER_CACHE, SERVER_STATE};
use docxy_host::files::toml_file;
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::net::proxy::Environment;
use docxy_protocol::congestion::Rate;
use file::ConfigFile;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub use error::SettingsError;
pub use flags::{AddressFlags, CommonFlags, Flags, ProxyFlags, ServingFlags};
pub use proxy::{HostPattern, ProxySettings};
pub use registry::{Account, RegistrySettings};
pub use repository_rules::RepositoryRules;
pub use resolve::StaticAddress;
pub use tls::{TlsFileError, TlsSettings};

/// The config file that is read if it exists and no other file is set.
pub const DEFAULT_CONFIG: &str = "/etc/docxy/server.toml";

/// The directory of layers in the cache directory.
const LAYERS: &str = "layers";

/// The default UDP port.
pub const DEFAULT_PORT: u16 = 61443;

/// The default of the highest fixed rate that a client may set, in bits per second. The server cannot check
/// a fixed rate, and without a limit a typing error would overload the server's access link. Few servers
/// have a faster one.
const DEFAULT_FIXED_RATE_LIMIT_BPS: u64 = 1_000_000_000;

/// The settings that every command needs.
#[derive(Debug, Clone, Default)]
pub struct CommonSettings {
    /// The addresses to listen on; at least one.
    pub listen: Vec<SocketAddr>,
    /// The state directory.
    pub state: PathBuf,
    /// The clients' file that several servers share, if they do.
    pub clients_file: Option<PathBuf>,
    /// The address for links, if the operator has set one.
    pub public: Option<PublicAddress>,
}

/// All settings, for `run`.
#[derive(Debug, Clone, derive_more::Deref)]
pub struct Settings {
    /// Those that every command needs.
    #[deref]
    pub common: CommonSettings,
    /// The highest fixed rate that a client may set, for each connection.
    pub fixed_rate_limit: Rate,
    /// How fast the server may send to one client, over all its connections; `None` is no limit.
    pub client_max_rate: Option<Rate>,
    /// Whether a tag may be served with its last known manifest when no pull is left.
    pub stale: bool,
    /// Which layers are kept on the disk, if some are.
    pub layer_cache: Option<LayerCacheSettings>,
    /// Whether the first signal hands running transfers back to the clients, because the next process follows at once.
    pub handover: bool,
    /// The registries that may be reached, each once; at least one.
    pub registries: Vec<RegistrySettings>,
    /// Which of their repositories clients may read.
    pub rules: RepositoryRules,
    /// The addresses of hosts (in lower case) that are not resolved by DNS, for all registries.
    pub resolve: BTreeMap<String, StaticAddress>,
    /// The proxy through which registries are reached, if any.
    pub proxy: Option<ProxySettings>,
    /// The operator's own certificate, for TCP handshakes with one of its names.
    pub tls: Option<TlsSettings>,
    /// Where to serve metrics and the operator's page. With TLS if it is not loopback.
    pub admin: Vec<SocketAddr>,
    /// The log filter.
    pub log: Filter,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether the log names images.
    pub log_images: bool,
}

/// Which layers are kept on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCacheSettings {
    /// Bytes that they may use.
    pub bytes_max: u64,
    /// Where they are.
    pub directory: PathBuf,
}

impl CommonSettings {
    /// Loads the settings that every command needs. Reads no password and no CA file, because only the
    /// running server may have the permission.
    ///
    /// # Errors
    /// If the config file is wrong, or there is no default for the state directory.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        let (_, config) = read(flags)?;
        Self::merge(flags, &config)
    }

    fn merge(flags: &Flags, config: &ConfigFile) -> Result<Self, SettingsError> {
        let default = vec![ListenAddress::Port(DEFAULT_PORT)];
        let listen =
            [&flags.addresses.listen, &config.listen.0].into_iter().find(|listen| !listen.is_empty());
        let listen = listen.unwrap_or(&default).iter().flat_map(|address| addresses(*address)).collect();
        let state = flags
            .common
            .state
            .clone()
            .or_else(|| config.state.clone())
            .or_else(|| SERVER_STATE.path())
            .ok_or(SettingsError::NoStateDirectory)?;
        let public = flags.addresses.public.clone().or_else(|| config.public.clone());
        let clients_file = flags.common.clients_file.clone().or_else(|| config.clients_file.clone());
        Ok(Self { listen, state, clients_file, public })
    }
}

/// The addresses to listen on. `[::]` takes IPv4 as well.
fn addresses(given: ListenAddress) -> Vec<SocketAddr> {
    match given {
        ListenAddress::Port(port) => vec![(Ipv6Addr::UNSPECIFIED, port).into()],
        ListenAddress::Localhost(port) => {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        ListenAddress::Exact(address) => vec![address],
    }
}

/// Where to serve the operator. A port alone is for this machine.
fn admin_address(given: ListenAddress) -> SocketAddr {
    given.exact().unwrap_or((Ipv4Addr::LOCALHOST, given.port()).into())
}

impl Settings {
    /// Loads all settings, with the passwords and CA files that they name.
    ///
    /// # Errors
    /// If the config file is wrong, or names a file or a variable that cannot be read.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        let (path, config) = read(flags)?;
        let common = CommonSettings::merge(flags, &config)?;
        let registries = match config.registries {
            Some(tables) => tables.load(&path)?,
            None => RegistrySettings::builtin().collect(),
        };
        let rules = RepositoryRules { allow: config.allow, deny: config.deny };
        let fixed_rate_limit = flags.serving.fixed_rate_limit.or(config.fixed_rate_limit);
        let fixed_rate_limit = fixed_rate_limit.unwrap_or_else(|| {
            Rate::from_bits_per_second(DEFAULT_FIXED_RATE_LIMIT_BPS).expect("a gigabit is a rate")
        });
        let client_max_rate = flags.serving.client_max_rate.or(config.client_max_rate);
        let resolve = config.resolve.into_entries();
        let proxy = config.proxy.load(flags.proxy.proxy.clone(), &Environment::of_process(), &path)?;
        let tls = tls::load(
            flags.serving.tls_certificate.clone().or(config.tls_certificate),
            flags.serving.tls_key.clone().or(config.tls_key),
        )?;
        let admin = flags.serving.admin.as_ref().map_or(&config.admin.0[..], std::slice::from_ref);
        let admin: Vec<_> = admin.iter().copied().map(admin_address).collect();
        if let (Some(open), None) = (admin.iter().find(|address| !address.ip().is_loopback()), &tls) {
            return Err(SettingsError::OpenAdmin(*open));
        }
        let log_format = flags.serving.log_format.or(config.log_format).unwrap_or_default();
        let log_images = flags.serving.log_images.or(config.log_images).unwrap_or(false);
        let stale = config.stale;
        let cache = flags.serving.cache.clone().or(config.cache);
        let layer_cache = match flags.serving.layer_cache.or(config.layer_cache) {
            None | Some(ByteSize(0)) => None,
            Some(ByteSize(bytes_max)) => {
                let cache = cache.or_else(|| SERVER_CACHE.path()).ok_or(SettingsError::NoCacheDirectory)?;
                Some(LayerCacheSettings { bytes_max, directory: cache.join(LAYERS) })
            }
        };
        let handover = flags.serving.handover.or(config.handover).unwrap_or(false);
        let log = flags.log.clone().or(config.log).unwrap_or_else(|| Filter::level(tracing::Level::INFO));
        Ok(Self {
            common,
            fixed_rate_limit,
            client_max_rate,
            stale,
            layer_cache,
            handover,
            registries,
            rules,
            resolve,
            proxy,
            tls,
            admin,
            log,
            log_format,
            log_images,
        })
    }
}

impl Flags {
    /// The same flags for a running server: if a default config file exists, they name it. A reload then
    /// reports an error if the file is missing, instead of applying the defaults.
    #[must_use]
    pub fn with_config_found(mut self) -> Self {
        let config = &mut self.common.config;
        *config = config.take().or_else(|| toml_file::existing(DEFAULT_CONFIG.into()));
        self
    }
}

#[cfg(test)]
impl Flags {
    /// Those that name this config file, and nothing else.
    pub(crate) fn of_config(config: impl Into<PathBuf>) -> Self {
        let common = CommonFlags { config: Some(config.into()), ..CommonFlags::default() };
        Self { common, ..Self::default() }
    }
}

/// The config file and its path. A missing default file counts as empty.
fn read(flags: &Flags) -> Result<(PathBuf, ConfigFile), SettingsError> {
    match flags.clone().with_config_found().common.config {
        Some(path) => Ok((path.clone(), ConfigFile::read(&path)?)),
        None => Ok((DEFAULT_CONFIG.into(), ConfigFile::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A config file of this text, and flags that name it.
    fn config(dir: &tempfile::TempDir, text: &str) -> Flags {
        let path = dir.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        Flags::of_config(path)
    }

    fn load(text: &str) -> Result<Settings, SettingsError> {
        Settings::load(&config(&tempfile::tempdir().unwrap(), text))
    }

    #[test]
    fn without_any_word_the_built_in_registries_are_served_on_the_usual_port() {
        let settings = load("").unwrap();
        assert_eq!(settings.listen, ["[::]:61443".parse().unwrap()]);
        assert_eq!(settings.public, None);
        assert_eq!(settings.fixed_rate_limit.to_string(), "1 Gbit/s");
        assert_eq!(settings.registries.len(), 11);
        let hub = &settings.registries[0];
        assert!(hub.name.is_docker_hub());
        assert_eq!(hub.api.as_str(), "https://registry-1.docker.io/");
    }

    #[test]
    fn a_port_alone_is_that_of_all_addresses() {
        for (text, expected) in [
            ("listen = '127.0.0.1:5090'", "127.0.0.1:5090"),
            ("listen = 5081", "[::]:5081"),
            ("listen = [':5081']", "[::]:5081"),
            ("fixed_rate_limit = '95 Mbps'", "[::]:61443"),
        ] {
            assert_eq!(load(text).unwrap().listen, [expected.parse().unwrap()], "{text}");
        }
        assert!(
            load("listen = 'localhost:1'").unwrap().listen.iter().all(|address| address.ip().is_loopback())
        );
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let text = "listen = ['[::]:1']\nstate = '/from/file'\npublic = 'file.example:1'";
        let from_file = config(&dir, text);
        let mut both = from_file.clone();
        both.addresses.listen = vec!["2".parse().unwrap()];
        both.common.state = Some("/from/flag".into());
        both.addresses.public = Some("flag.example".parse().unwrap());
        for (flags, port, state, public) in
            [(from_file, 1, "/from/file", "file.example:1"), (both, 2, "/from/flag", "flag.example")]
        {
            let basics = CommonSettings::load(&flags).unwrap();
            assert_eq!(basics.listen[0].port(), port);
            assert_eq!(basics.state, Path::new(state));
            assert_eq!(basics.public, Some(public.parse().unwrap()));
        }
    }

    #[test]
    fn the_limit_of_stated_rates_is_the_flag_s_then_the_file_s() {
        let dir = tempfile::tempdir().unwrap();
        let from_file = config(&dir, "fixed_rate_limit = '200 Mbit/s'");
        let mut both = from_file.clone();
        both.serving.fixed_rate_limit = Some("2 Gbit/s".parse().unwrap());
        for (flags, expected) in [(from_file, "200 Mbit/s"), (both, "2 Gbit/s")] {
            assert_eq!(Settings::load(&flags).unwrap().fixed_rate_limit.to_string(), expected);
        }
    }

    #[test]
    fn the_log_filter_is_the_flag_then_the_file_then_info() {
        let dir = tempfile::tempdir().unwrap();
        let from_file = config(&dir, "log = 'warn,docxy_server=debug'");
        let both = Flags { log: Some("trace".parse().unwrap()), ..from_file.clone() };
        for (flags, expected) in [(from_file, "warn,docxy_server=debug"), (both, "trace")] {
            assert_eq!(Settings::load(&flags).unwrap().log.to_string(), expected);
        }
        assert_eq!(load("").unwrap().log.to_string(), "info");
    }

    #[test]
    fn the_admin_page_is_for_this_machine_without_a_certificate() {
        assert_eq!(load("").unwrap().admin, []);
        assert_eq!(load("admin = 61444").unwrap().admin, ["127.0.0.1:61444".parse().unwrap()]);
        assert_eq!(load("admin = '[::1]:1'").unwrap().admin, ["[::1]:1".parse().unwrap()]);
        let error = load("admin = '0.0.0.0:61444'").unwrap_err().to_string();
        assert!(error.contains("tls_certificate"), "{error}");
    }

    #[test]
    fn the_handover_is_the_flag_s_then_the_file_s() {
        let dir = tempfile::tempdir().unwrap();
        let from_file = config(&dir, "handover = true");
        let mut both = from_file.clone();
        both.serving.handover = Some(false);
        for (flags, expected) in [(Flags::default(), false), (from_file, true), (both, false)] {
            assert_eq!(Settings::load(&flags).unwrap().handover, expected);
        }
    }

    #[test]
    fn no_layers_are_kept_unless_a_size_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let from_file = config(&dir, "layer_cache = '50 GB'\ncache = 'here'");
        let mut off = from_file.clone();
        off.serving.layer_cache = Some(ByteSize(0));
        let found =
            LayerCacheSettings { bytes_max: 50_000_000_000, directory: dir.path().join("here/layers") };
        for (flags, expected) in [(Flags::default(), None), (off, None), (from_file, Some(found))] {
            assert_eq!(Settings::load(&flags).unwrap().layer_cache, expected);
        }
    }

    #[test]
    fn a_relative_path_in_the_file_starts_where_the_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let basics = CommonSettings::load(&config(&dir, "state = 'here'")).unwrap();
        assert_eq!(basics.state, dir.path().join("here"));
    }

    #[test]
    fn an_error_in_the_file_names_file_and_line() {
        for (text, line, words) in [
            ("\nlisten_on = []", 2, "unknown field `listen_on`"),
            ("listen = ['nonsense']", 1, "is no address to listen on"),
            ("public = 'https://host'", 1, "is not HOST or HOST:PORT"),
            ("\nfixed_rate_limit = '200'", 2, "\"200\" is no rate: write it as \"95 Mbit/s\""),
            ("\nfixed_rate_limit = '0 Mbit/s'", 2, "a rate has to be between"),
            ("\nfixed_rate_limit = 200", 2, "a rate is written in quotes, as in \"200 Mbit/s\""),
            ("\nclient_max_rate = 'fast'", 2, "\"fast\" is no rate: write it as \"95 Mbit/s\""),
            ("\n\nlog = 'inof'", 3, "a log filter is off, error, warn"),
            ("\nlog = 3", 2, "expected text in quotes"),
            ("\n[registries.'ghcr.io']\napi = 'http://ghcr.io'", 3, "must begin with https://"),
            ("\n[registries.'gh cr']", 2, "is not a registry host"),
            ("\nproxy = 'http://p:1'", 2, "expected a table with url"),
            ("\n[registries]\n'ghcr.io' = true", 3, "expected a table, as in [registries.\"ghcr.io\"]"),
            ("[registries]\n'docker.io' = {}\n'index.docker.io' = {}", 1, "docker.io is listed twice"),
            ("\n[resolve]\n'a.io' = 'b.io'", 3, "is not an address"),
            ("\n[resolve]\n'a.io:443' = '::1'", 3, "without a port"),
            ("\nlayer_cache = 'much'", 2, "\"much\" is no size"),
            ("\nallow = ['library/*']", 2, "begins with no registry"),
            ("[registries.'a.io'.resolve]\n'a.io' = 'b.io'", 2, "is not an address"),
        ] {
            let error = load(text).unwrap_err().to_string();
            let place = format!("server.toml, line {line}: ");
            assert!(error.contains(&place), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_missing_config_file_is_an_error_if_it_was_asked_for() {
        let flags = Flags::of_config("/nonexistent/server.toml");
        let error = Settings::load(&flags).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/server.toml"), "{error}");
    }

    #[test]
    fn hosts_may_be_pinned_to_addresses() {
        let own = "[registries.'a.io'.resolve]\n'CDN.a.io' = '10.0.0.9'\n";
        let settings = load(&format!(
            "{own}[resolve]\n'Registry-1.docker.io' = '10.0.0.2:443'\n'a.io' = '10.0.0.3'\n'b.io' = '::1'\n'c.io' = '[::1]:5'",
        ))
        .unwrap();
        let cdn = settings.registries[0].resolve["cdn.a.io"];
        assert_eq!((cdn.ip.to_string(), cdn.port), ("10.0.0.9".into(), None));
        let entry = |host: &str| {
            let to = settings.resolve[host];
            (to.ip.to_string(), to.port)
        };
        assert_eq!(entry("registry-1.docker.io"), ("10.0.0.2".into(), Some(443)));
        assert_eq!(entry("a.io"), ("10.0.0.3".into(), None));
        assert_eq!(entry("b.io"), ("::1".into(), None));
        assert_eq!(entry("c.io"), ("::1".into(), Some(5)));
    }
}
