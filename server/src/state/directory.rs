//! The directory itself. Its files have modules of their own.

use super::error::StateError;
use docxy_host::files::private_file::{self, FileError};
use docxy_host::files::toml_file::{self, TomlError};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file with the paths of the clients' files that were in use, one on each line.
pub(super) const KNOWN_CLIENTS_FILES: &str = "clients.known";

/// An open state directory.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
    /// The clients' file of several servers, in place of the one in the directory.
    shared_clients: Option<PathBuf>,
}

impl State {
    /// Opens the directory. It is created with mode 0700 if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        private_file::create_directory(directory)
            .map_err(|source| StateError::Create { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned(), shared_clients: None })
    }

    /// Opens the directory of a state that there is. Makes none: the path may be a typing error.
    ///
    /// # Errors
    /// If there is no state, or this user may not see it.
    pub fn open_existing(directory: &Path) -> Result<Self, StateError> {
        let state = Self { directory: directory.to_owned(), shared_clients: None };
        // Where the identity was lost, clients can still be revoked.
        for name in ["identity.pem", "clients", KNOWN_CLIENTS_FILES] {
            let path = state.path(name);
            match path.metadata() {
                Ok(_) => return Ok(state),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(source) => return Err(FileError::Read { path, source }.into()),
            }
        }
        Err(StateError::NotThere { directory: state.directory })
    }

    /// The same, with a clients' file that several servers share.
    #[must_use]
    pub fn with_shared_clients(self, file: Option<PathBuf>) -> Self {
        Self { shared_clients: file, ..self }
    }

    /// The clients' file that several servers share, if there is one.
    #[must_use]
    pub fn shared_clients(&self) -> Option<&Path> {
        self.shared_clients.as_deref()
    }

    /// The path of a file with this name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Warns of each secret that other users of this machine may read or change.
    pub fn warn_of_open_secrets(&self) {
        for name in ["identity.pem", "quic.keys", "token.key", "default.link"] {
            let path = self.path(name);
            if private_file::is_open_to_others(&path) {
                let path = path.display();
                tracing::warn!(
                    "{path} is a secret that other users of this machine may read or change: run chmod 600 {path}"
                );
            }
        }
    }

    /// The directory's own path.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The lock of the clients' file and of the reserve. It is a file of its own, beside the clients' file, since every
    /// change replaces both.
    pub(super) fn lock_clients(&self) -> Result<File, FileError> {
        let path = self.clients_path();
        // A link and the file that it leads to have one lock.
        let target = private_file::target(&path).map_err(|source| FileError::Lock { path, source })?;
        let mut lock = target.into_os_string();
        lock.push(".lock");
        private_file::lock(Path::new(&lock))
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
