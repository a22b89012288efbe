//! The config file as people write it.
//!
//! Unknown words are errors: a misspelt setting that is passed over in silence would be found
//! weeks later.

use super::SettingsError;
use super::registry::RegistryTables;
use super::resolve::ResolveTable;
use crate::address::PublicAddress;
use crate::toml_text;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that may be in the file; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) state: Option<PathBuf>,
    pub(super) public: Option<PublicAddress>,
    pub(super) registries: Option<RegistryTables>,
    pub(super) resolve: ResolveTable,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        let mut config: Self = toml_text::parse(&text)
            .map_err(|source| SettingsError::Config { path: path.to_owned(), source })?;
        config.state = config.state.map(|state| directory(path).join(state));
        Ok(config)
    }
}

/// Relative paths in a config file are taken from where it is: where the program was started
/// from says nothing about them.
pub(super) fn directory(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}
