//! The config file.
//!
//! Unknown keys are errors: a misspelt setting that is ignored would be found weeks later.

use super::host_name::HostName;
use super::networks::Networks;
use super::share::{NeighbourAddress, Share};
use crate::accounts::logins::CredentialHelper;
use crate::images::warm::{DailyWindow, Interval, Schedule, WarmImages, WarmSettings};
use crate::tunnel::{Congestion, LegChoice, Rates};
use docxy_host::byte_size::ByteSize;
use docxy_host::files::toml_file::{self, TomlFileError};
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::net::listen_address::ListenAddresses;
use docxy_host::net::proxy::ProxyTable;
use docxy_protocol::platform::{Platform, PlatformError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// All settings of the file. Each may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: ListenAddresses,
    pub(super) link_file: Option<PathBuf>,
    pub(super) cache: Option<PathBuf>,
    pub(super) cache_size: Option<ByteSize>,
    pub(super) cache_private: bool,
    pub(super) public_for: Option<u64>,
    pub(super) warm: Option<WarmTable>,
    pub(super) credential_helper: Option<CredentialHelper>,
    pub(super) hosts: Vec<HostName>,
    pub(super) allow_remote: Networks,
    pub(super) share: Share,
    pub(super) neighbours: Vec<NeighbourAddress>,
    pub(super) congestion: Option<Congestion>,
    pub(super) max_rate: Option<Rates>,
    pub(super) leg: Option<LegChoice>,
    pub(super) proxy: ProxyTable,
    /// Where the file is.
    #[serde(skip)]
    pub(super) path: PathBuf,
    pub(super) patience: Option<u64>,
    pub(super) log: Option<Filter>,
    pub(super) log_format: Option<LogFormat>,
}

/// Images that a running client fetches ahead of time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with images, as in { images = [\"alpine\"] }")]
pub(super) struct WarmTable {
    images: WarmImages,
    #[serde(default)]
    every: Interval,
    between: Option<DailyWindow>,
    platform: Option<PlatformName>,
}

/// A platform, as users write it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct PlatformName(Platform);

impl TryFrom<String> for PlatformName {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse().map(Self)
    }
}

impl WarmTable {
    /// The settings. A relative path starts at the directory of the config file.
    pub(super) fn settings(self, config: &Path) -> WarmSettings {
        let Self { images, every, between, platform } = self;
        let images = match images {
            WarmImages::File(file) => WarmImages::File(toml_file::resolve(config, &file)),
            list @ WarmImages::List(_) => list,
        };
        let schedule = Schedule { every, between };
        WarmSettings { images, schedule, platform: platform.map(|PlatformName(platform)| platform) }
    }
}

impl ConfigFile {
    /// Reads the file. Relative paths start at its directory.
    pub(super) fn read(path: &Path) -> Result<Self, TomlFileError> {
        let file: Self = toml_file::read(path)?;
        let absolute = |given: Option<PathBuf>| given.map(|given| toml_file::resolve(path, &given));
        let path = path.to_owned();
        Ok(Self { link_file: absolute(file.link_file), cache: absolute(file.cache), path, ..file })
    }
}
