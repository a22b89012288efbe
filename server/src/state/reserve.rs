//! Room that is kept for a revocation: a file of some bytes that changes places with the clients' file when
//! the disk is full, so that nothing new is needed, neither a block nor an inode, and nobody else can take it.
//!
//! The bytes are random, so that no file system stores less than all of them. It is made and used under the
//! clients' lock alone, since what was the reserve becomes the clients' file. A reserve that cannot be made
//! must never keep anything else from working.

use super::{State, StateError, file, random};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of it: the clients' file of some four hundred clients.
const SIZE: usize = 64 * 1024;

/// What is written at once: where not all of it finds room, some does.
const PIECE: usize = 4096;

impl State {
    /// Makes the reserve, or what is missing of it, as far as there is room.
    pub(super) fn keep_reserve(&self) {
        if self.reserve_length() == SIZE as u64 {
            return;
        }
        match self.lock_clients() {
            Ok(_lock) => self.make_reserve(),
            Err(error) => tracing::debug!(%error, "no reserve for a full disk"),
        }
    }

    /// The same for whoever has the clients' lock.
    pub(super) fn make_reserve(&self) {
        if let Err(error) = self.try_make_reserve() {
            tracing::debug!(%error, "no reserve for a full disk");
        }
    }

    fn try_make_reserve(&self) -> io::Result<()> {
        if self.reserve_length() == SIZE as u64 {
            return Ok(());
        }
        let file = file::open_or_create(&self.reserve())?;
        for at in (0..SIZE).step_by(PIECE) {
            // Where there is no room for more, what there is is a reserve as well.
            file.write_all_at(&random::<PIECE>().map_err(io::Error::other)?, at as u64)?;
        }
        Ok(())
    }

    /// Puts the content into place by means of the reserve, of which little is left then.
    ///
    /// # Errors
    /// Where there is none, or it is too small.
    pub(super) fn write_with_reserve(&self, path: &Path, content: &[u8]) -> Result<(), StateError> {
        file::write_over(&self.reserve(), path, content)
    }

    /// Gives the reserve up, for file systems that need room to overwrite as well.
    pub(crate) fn give_up_reserve(&self) -> bool {
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
        assert!(state.write_with_reserve(&clients, b"x").is_err() && !state.give_up_reserve());
        file::write(&clients, b"before").unwrap();
        for content in ["first", "second"] {
            let before = clients.metadata().unwrap();
            state.keep_reserve();
            let about = reserve.metadata().unwrap();
            assert!(about.len() == SIZE as u64 && about.blocks() * 512 >= SIZE as u64, "{about:?}");
            assert_eq!(about.permissions().mode() & 0o777, 0o600);
            state.write_with_reserve(&clients, content.as_bytes()).unwrap();
            assert_eq!(fs::read(&clients).unwrap(), content.as_bytes());
            assert_eq!(clients.metadata().unwrap().ino(), about.ino());
            // Its inode is not let go.
            assert_eq!(reserve.metadata().unwrap().ino(), before.ino());
            assert!(state.reserve_length() < SIZE as u64);
        }
        state.keep_reserve();
        assert_eq!(state.reserve_length(), SIZE as u64);
        assert!(!fs::read(&reserve).unwrap().starts_with(b"first"), "no old clients in it");
        assert_eq!(dir.path().read_dir().unwrap().count(), 3, "clients, clients.lock, reserve");
    }
}
