//! The config file.
//!
//! Unknown keys are errors: a misspelt setting that is ignored would be found weeks later.

use super::error::SettingsError;
use super::host_name::HostName;
use super::toml_text;
use crate::tunnel::Congestion;
use docxy_host::logging::Filter;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// All settings of the file. Each may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) link_file: Option<PathBuf>,
    pub(super) cache: Option<PathBuf>,
    pub(super) hosts: Vec<HostName>,
    pub(super) allow_remote: bool,
    pub(super) congestion: Option<Congestion>,
    pub(super) patience: Option<u64>,
    pub(super) log: Option<Filter>,
}

impl ConfigFile {
    /// Reads the file. Relative paths start at its directory.
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        let file: Self = toml_text::parse(&text)
            .map_err(|source| SettingsError::Config { path: path.to_owned(), source })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let absolute = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        Ok(Self { link_file: absolute(file.link_file), cache: absolute(file.cache), ..file })
    }
}
