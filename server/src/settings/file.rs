//! The config file, as it is written.
//!
//! Must never ignore an unknown key: a misspelt setting would be noticed only weeks later.

use super::error::SettingsError;
use super::paths::base_directory;
use super::registry::RegistryTables;
use super::resolve::ResolveTable;
use crate::address::PublicAddress;
use crate::toml_text;
use docxy_host::logging::Filter;
use docxy_protocol::congestion::Rate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// All keys of the file. All are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) state: Option<PathBuf>,
    pub(super) public: Option<PublicAddress>,
    pub(super) log: Option<Filter>,
    #[serde(deserialize_with = "fixed_rate_limit")]
    pub(super) fixed_rate_limit: Option<Rate>,
    pub(super) stale: bool,
    pub(super) registries: Option<RegistryTables>,
    pub(super) resolve: ResolveTable,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        let mut config: Self = toml_text::parse(&text)
            .map_err(|source| SettingsError::Config { path: path.to_owned(), source })?;
        config.state = config.state.map(|state| base_directory(path).join(state));
        Ok(config)
    }
}

/// A rate is text in the file. (A number is bits per second, which only the wire uses.)
fn fixed_rate_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let example = "fixed_rate_limit is a rate in quotes, as in \"200 Mbit/s\"";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(example))?;
    text.parse().map(Some).map_err(|error| D::Error::custom(format!("fixed_rate_limit: {error}")))
}
