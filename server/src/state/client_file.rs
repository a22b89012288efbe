//! The file `clients`, or the one that several servers share, which `invite` and `revoke` change under a lock.
//!
//! Must never write a change that failed, or overwrite that of another process.

use super::clients::{ClientList, ClientsError};
use super::directory::State;
use super::error::StateError;
use docxy_host::private_file::{self, FileError};
use std::path::{Path, PathBuf};

impl State {
    /// Whether a client was ever invited.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        self.clients_path().exists()
    }

    /// The current clients; an empty list if none was invited yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn clients(&self) -> Result<ClientList, StateError> {
        ClientList::load(&self.clients_path())
    }

    /// Changes the clients under their lock, and writes the change if it succeeds.
    ///
    /// # Errors
    /// The change's own error, or if the file cannot be locked, read or written.
    pub fn change_clients<T>(
        &self,
        change: impl FnOnce(&mut ClientList) -> Result<T, ClientsError>,
    ) -> Result<T, ClientsError> {
        self.change_clients_by(change, private_file::write, Self::ensure_reserve_locked)
    }

    /// The same on a full disk, with the reserve.
    ///
    /// # Errors
    /// As above, or if there is no reserve.
    pub(crate) fn change_clients_with_reserve<T>(
        &self,
        change: impl FnOnce(&mut ClientList) -> Result<T, ClientsError>,
    ) -> Result<T, ClientsError> {
        let write = |path: &Path, content: &[u8]| self.write_with_reserve(path, content);
        self.change_clients_by(change, write, Self::fill_reserve)
    }

    fn change_clients_by<T>(
        &self,
        change: impl FnOnce(&mut ClientList) -> Result<T, ClientsError>,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), FileError>,
        make_reserve: impl FnOnce(&Self),
    ) -> Result<T, ClientsError> {
        let _lock = self.lock_clients().map_err(StateError::from)?;
        let before = self.clients()?;
        let mut list = before.clone();
        let outcome = change(&mut list)?;
        if list != before {
            write(&self.clients_path(), list.to_text().as_bytes()).map_err(StateError::from)?;
        }
        make_reserve(self);
        Ok(outcome)
    }

    /// The file's path.
    #[must_use]
    pub fn clients_path(&self) -> PathBuf {
        self.shared_clients().map_or_else(|| self.path("clients"), Path::to_owned)
    }
}
