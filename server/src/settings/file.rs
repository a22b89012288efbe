//! The config file, as it is written.
//!
//! Must never ignore an unknown key: a misspelt setting would be noticed only weeks later.

use super::proxy::ServerProxyTable;
use super::registry::RegistryTables;
use super::repository_rules::Patterns;
use super::resolve::ResolveTable;
use crate::address::PublicAddress;
use docxy_host::byte_size::ByteSize;
use docxy_host::files::toml_file::{self, TomlFileError};
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::net::listen_address::ListenAddresses;
use docxy_protocol::congestion::Rate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

/// All keys of the file. All are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: ListenAddresses,
    pub(super) state: Option<PathBuf>,
    pub(super) clients_file: Option<PathBuf>,
    pub(super) public: Option<PublicAddress>,
    pub(super) log: Option<Filter>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) log_images: Option<bool>,
    pub(super) admin: ListenAddresses,
    #[serde(deserialize_with = "rate")]
    pub(super) fixed_rate_limit: Option<Rate>,
    #[serde(deserialize_with = "rate")]
    pub(super) client_max_rate: Option<Rate>,
    pub(super) stale: bool,
    pub(super) layer_cache: Option<ByteSize>,
    pub(super) cache: Option<PathBuf>,
    pub(super) handover: Option<bool>,
    pub(super) tls_certificate: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) registries: Option<RegistryTables>,
    pub(super) allow: Option<Patterns>,
    pub(super) deny: Option<Patterns>,
    pub(super) resolve: ResolveTable,
    pub(super) proxy: ServerProxyTable,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, TomlFileError> {
        let mut config: Self = toml_file::read(path)?;
        for given in [
            &mut config.state,
            &mut config.clients_file,
            &mut config.tls_certificate,
            &mut config.tls_key,
            &mut config.cache,
        ] {
            *given = given.take().map(|given| toml_file::resolve(path, &given));
        }
        Ok(config)
    }
}

/// A rate is text in the file. (A number is bits per second, which only the wire uses.)
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let example = "a rate is written in quotes, as in \"200 Mbit/s\"";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(example))?;
    text.parse().map(Some).map_err(D::Error::custom)
}
