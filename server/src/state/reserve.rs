//! Disk space that is reserved for a revocation: a file that is overwritten and becomes the clients' file
//! when the disk is full, so that neither a block nor an inode has to be allocated.
//!
//! Its bytes are random, so that a file system cannot compress them. It is made and used only under the
//! clients' lock, because the reserve becomes the clients' file. There is none for a clients' file that several servers
//! share: it is elsewhere, and perhaps not writable here. A reserve that cannot be made must never stop anything else, nor
//! take space that something else needs.

use super::directory::State;
use super::random::random;
use docxy_host::files::private_file::{self, FileError};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The size of the reserve: the clients' file of about 400 clients.
const RESERVE_BYTES: u64 = 64 * 1024;

/// The least free space with which the reserve is made: a first start needs some of it.
const RESERVE_FREE_BYTES_MIN: u64 = 2 * RESERVE_BYTES;

/// The bytes of one write. A reserve that was used up gets as many of them as fit.
const RESERVE_WRITE_BYTES: usize = 4096;

impl State {
    /// Makes the reserve, if there is none or only a part of it, and ample space.
    pub(crate) fn ensure_reserve(&self) {
        if self.shared_clients().is_some() || self.reserve_length() == RESERVE_BYTES {
            return;
        }
        match self.lock_clients() {
            Ok(_lock) => self.ensure_reserve_locked(),
            Err(error) => tracing::debug!(%error, "cannot create the revocation reserve"),
        }
    }

    /// The same for a caller that holds the clients' lock.
    pub(super) fn ensure_reserve_locked(&self) {
        let is_ample = |free| free >= RESERVE_FREE_BYTES_MIN;
        if self.shared_clients().is_none()
            && self.reserve_length() < RESERVE_BYTES
            && private_file::free_bytes(self.directory()).is_ok_and(is_ample)
        {
            self.fill_reserve();
        }
    }

    /// Makes the reserve, or its missing part, as far as there is space: after it was used, that is the space
    /// of the file that it has replaced. For a caller that holds the clients' lock.
    pub(super) fn fill_reserve(&self) {
        if let Err(error) = self.try_fill_reserve() {
            tracing::debug!(%error, "cannot create the revocation reserve");
        }
    }

    fn try_fill_reserve(&self) -> io::Result<()> {
        if self.shared_clients().is_some() {
            return Ok(());
        }
        let file = private_file::open_or_create(&self.reserve())?;
        for at in (0..RESERVE_BYTES).step_by(RESERVE_WRITE_BYTES) {
            // A shorter reserve is useful too.
            file.write_all_at(&random::<RESERVE_WRITE_BYTES>().map_err(io::Error::other)?, at)?;
        }
        Ok(())
    }

    /// Replaces a file by the reserve, with this content. The reserve is used up then.
    ///
    /// # Errors
    /// If there is no reserve, or it is too small.
    pub(super) fn write_with_reserve(&self, path: &Path, content: &[u8]) -> Result<(), FileError> {
        private_file::write_over(&self.reserve(), path, content)
    }

    /// Removes the reserve, for file systems that need free space to overwrite a file.
    pub(crate) fn remove_reserve(&self) -> bool {
        fs::remove_file(self.reserve()).is_ok()
    }

    fn reserve_length(&self) -> u64 {
        self.reserve().metadata().map_or(0, |about| about.len())
    }

    fn reserve(&self) -> PathBuf {
        self.path("reserve")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn a_used_reserve_is_made_again_with_all_its_space() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let (reserve, clients) = (state.path("reserve"), state.path("clients"));
        assert!(state.write_with_reserve(&clients, b"x").is_err() && !state.remove_reserve());
        private_file::write(&clients, b"before").unwrap();
        for content in ["first", "second"] {
            let before = clients.metadata().unwrap();
            state.ensure_reserve();
            let about = reserve.metadata().unwrap();
            assert!(about.len() == RESERVE_BYTES && about.blocks() * 512 >= RESERVE_BYTES, "{about:?}");
            assert_eq!(about.permissions().mode() & 0o777, 0o600);
            state.write_with_reserve(&clients, content.as_bytes()).unwrap();
            assert_eq!(fs::read(&clients).unwrap(), content.as_bytes());
            assert_eq!(clients.metadata().unwrap().ino(), about.ino());
            // The inode stays allocated.
            assert_eq!(reserve.metadata().unwrap().ino(), before.ino());
            assert!(state.reserve_length() < RESERVE_BYTES);
        }
        state.ensure_reserve();
        assert_eq!(state.reserve_length(), RESERVE_BYTES);
        assert!(!fs::read(&reserve).unwrap().starts_with(b"first"), "no old clients in it");
        assert_eq!(dir.path().read_dir().unwrap().count(), 3, "clients, clients.lock, reserve");
    }
}
