//! Disk space that is reserved for a revocation: a file that is overwritten and becomes the clients' file when
//! the disk is full, so that neither a block nor an inode has to be allocated.
//!
//! Its bytes are random, so that a file system cannot compress them. It is made and used only under the
//! clients' lock, because the reserve becomes the clients' file. A reserve that cannot be made must never
//! stop anything else.

use super::directory::State;
use super::random::random;
use docxy_host::private_file::{self, FileError};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The size of the reserve: the clients' file of about 400 clients.
const RESERVE_BYTES: usize = 64 * 1024;

/// The bytes of one write. If the disk is almost full, the reserve gets as many of them as fit.
const WRITE_BYTES: usize = 4096;

impl State {
    /// Makes the reserve, or its missing part, as far as there is space.
    pub(super) fn ensure_reserve(&self) {
        if self.reserve_length() == RESERVE_BYTES as u64 {
            return;
        }
        match self.lock_clients() {
            Ok(_lock) => self.make_reserve(),
            Err(error) => tracing::debug!(%error, "no reserve for a full disk"),
        }
    }

    /// The same for a caller that holds the clients' lock.
    pub(super) fn make_reserve(&self) {
        if let Err(error) = self.try_make_reserve() {
            tracing::debug!(%error, "no reserve for a full disk");
        }
    }

    fn try_make_reserve(&self) -> io::Result<()> {
        if self.reserve_length() == RESERVE_BYTES as u64 {
            return Ok(());
        }
        let file = private_file::open_or_create(&self.reserve())?;
        for at in (0..RESERVE_BYTES).step_by(WRITE_BYTES) {
            // A shorter reserve is useful too.
            file.write_all_at(&random::<WRITE_BYTES>().map_err(io::Error::other)?, at as u64)?;
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
    fn the_reserve_takes_up_room_is_used_up_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let (reserve, clients) = (state.path("reserve"), state.path("clients"));
        assert!(state.write_with_reserve(&clients, b"x").is_err() && !state.remove_reserve());
        private_file::write(&clients, b"before").unwrap();
        for content in ["first", "second"] {
            let before = clients.metadata().unwrap();
            state.ensure_reserve();
            let about = reserve.metadata().unwrap();
            assert!(
                about.len() == RESERVE_BYTES as u64 && about.blocks() * 512 >= RESERVE_BYTES as u64,
                "{about:?}"
            );
            assert_eq!(about.permissions().mode() & 0o777, 0o600);
            state.write_with_reserve(&clients, content.as_bytes()).unwrap();
            assert_eq!(fs::read(&clients).unwrap(), content.as_bytes());
            assert_eq!(clients.metadata().unwrap().ino(), about.ino());
            // Its inode is not let go.
            assert_eq!(reserve.metadata().unwrap().ino(), before.ino());
            assert!(state.reserve_length() < RESERVE_BYTES as u64);
        }
        state.ensure_reserve();
        assert_eq!(state.reserve_length(), RESERVE_BYTES as u64);
        assert!(!fs::read(&reserve).unwrap().starts_with(b"first"), "no old clients in it");
        assert_eq!(dir.path().read_dir().unwrap().count(), 3, "clients, clients.lock, reserve");
    }
}
