//! A few permits that all processes of a user share. Each is a file: who has it locked has the permit.
//!
//! The kernel unlocks the files of a process that ends in any way. Must never delete such a file, since another process may
//! have it open, nor wait for one.

use super::private_file;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Permits for one purpose. Clones share them.
#[derive(Debug, Clone)]
pub struct SharedPermits(Option<PathBuf>);

/// A permit, until it is dropped.
#[derive(Debug)]
pub struct SharedPermit(#[expect(dead_code, reason = "it is held open")] Option<File>);

impl SharedPermits {
    /// Those whose files have this name, which has no dot, in a directory that is created if needed. Without a directory,
    /// there is no limit.
    #[must_use]
    pub fn new(directory: Option<&Path>, name: &str) -> Self {
        Self(directory.map(|directory| directory.join(name)))
    }

    /// One of the first `count` permits; `None` while others have them all. Where files cannot be locked, there is no limit.
    #[must_use]
    pub fn acquire(&self, count: usize) -> Option<SharedPermit> {
        let Some(path) = &self.0 else { return Some(SharedPermit(None)) };
        match lock_one(path, count) {
            Ok(file) => file.map(|file| SharedPermit(Some(file))),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no file can be locked there; permits are not limited");
                Some(SharedPermit(None))
            }
        }
    }
}

fn lock_one(path: &Path, count: usize) -> io::Result<Option<File>> {
    if let Some(directory) = path.parent() {
        private_file::create_directory(directory)?;
    }
    for number in 0..count {
        let file = private_file::open_or_create(&path.with_extension(number.to_string()))?;
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_permits_are_given_than_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("run");
        // As two processes do.
        let [one, other] = [(); 2].map(|()| SharedPermits::new(Some(&directory), "tcp"));
        let (first, second) = (one.acquire(2).unwrap(), other.acquire(2).unwrap());
        assert!(one.acquire(2).is_none() && other.acquire(2).is_none());
        let third = one.acquire(3).unwrap();
        drop(first);
        let first = other.acquire(2).unwrap();
        assert!(other.acquire(3).is_none());
        assert!(SharedPermits::new(Some(&directory), "udp").acquire(1).is_some());
        drop((first, second, third));
        assert!(one.acquire(1).is_some());
    }

    #[test]
    fn without_a_directory_there_is_no_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for directory in [None, Some(file.path())] {
            let permits = SharedPermits::new(directory, "tcp");
            let _first = permits.acquire(1).unwrap();
            assert!(permits.acquire(1).is_some());
        }
    }
}
