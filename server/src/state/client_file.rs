//! The file `clients`, or the one that several servers share, which `invite` and `revoke` change under a lock.
//!
//! Must never write a change that failed, overwrite that of another process, or begin a new file in place of one that was
//! lost: with it, all clients would lose their access.

use super::clients::{ClientList, ClientsError};
use super::directory::{KNOWN_CLIENTS_FILES as KNOWN, State};
use super::error::StateError;
use docxy_host::files::private_file::{self, FileError};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

impl State {
    /// The current clients; an empty list if none was invited yet.
    ///
    /// # Errors
    /// If the file cannot be read, or was there before and is gone.
    pub fn clients(&self) -> Result<ClientList, StateError> {
        let path = self.clients_path();
        let list = ClientList::load(&path)?;
        if !list.is_empty() {
            self.remember_clients_file();
        } else if self.knows_clients_file()? {
            return Err(StateError::ClientsLost { path, known: self.path(KNOWN) });
        }
        Ok(list)
    }

    /// Remembers that there is such a file with clients in it.
    pub(super) fn remember_clients_file(&self) {
        let remember = || {
            if self.knows_clients_file()? {
                return Ok(());
            }
            let known = private_file::read(&self.path(KNOWN))?.unwrap_or_default();
            private_file::write(&self.path(KNOWN), &[&known[..], &self.clients_file_line(), b"\n"].concat())
        };
        // A command of another user than the server's may only read here. The next one remembers it.
        if let Err(error) = remember() {
            tracing::debug!(%error, "that there are clients is not remembered");
        }
    }

    fn knows_clients_file(&self) -> Result<bool, FileError> {
        let known = private_file::read(&self.path(KNOWN))?.unwrap_or_default();
        let line = self.clients_file_line();
        Ok(known.split(|byte| *byte == b'\n').any(|known| known == line))
    }

    /// The file's path. That of the file in the state directory is relative, since the directory may be moved.
    fn clients_file_line(&self) -> Vec<u8> {
        let path = self.shared_clients().map_or_else(
            || "clients".into(),
            |file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
        );
        path.as_os_str().as_bytes().to_vec()
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
        // Where the file's directory is gone, so are the clients, and that error says what to do.
        let _lock =
            self.lock_clients().map_err(|error| self.clients().err().unwrap_or_else(|| error.into()))?;
        let before = self.clients()?;
        let mut list = before.clone();
        let outcome = change(&mut list)?;
        if list != before {
            write(&self.clients_path(), list.to_text().as_bytes()).map_err(StateError::from)?;
            self.remember_clients_file();
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
