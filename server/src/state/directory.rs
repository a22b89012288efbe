//! The directory itself. Its files have modules of their own.

use super::error::StateError;
use docxy_host::private_file::{self, FileError};
use docxy_host::toml_file::{self, TomlError};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::path::{Path, PathBuf};

/// An open state directory.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// Opens the directory. It is created with mode 0700 if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        private_file::create_directory(directory)
            .map_err(|source| StateError::Create { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The path of a file with this name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory's own path.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The lock of the clients' file and of the reserve. It is a file of its own, since every change replaces
    /// both.
    pub(super) fn lock_clients(&self) -> Result<File, FileError> {
        private_file::lock(&self.path("clients.lock"))
    }
}

/// The values in a file in TOML; the default ones if there is no file.
pub(super) fn read_toml<T: DeserializeOwned>(path: &Path, remedy: &'static str) -> Result<T, StateError> {
    let content = private_file::read(path)?.unwrap_or_default();
    parse_toml(&content).map_err(|error| StateError::damaged(path, error, remedy))
}

/// Parses a file's content. Invalid UTF-8 is invalid TOML too.
pub(super) fn parse_toml<T: DeserializeOwned>(content: &[u8]) -> Result<T, TomlError> {
    toml_file::parse(&String::from_utf8_lossy(content))
}
