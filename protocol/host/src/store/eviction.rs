//! Which files to remove, so that all together stay within a limit.
//!
//! Pure: the caller lists, writes and removes files.

use crate::lru::Lru;
use std::path::Path;
use std::sync::Arc;

/// The unit of disk space that files use.
pub(super) const DISK_BLOCK_BYTES: usize = 4096;

/// A file in the directory of the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub(super) path: Arc<Path>,
    pub(super) bytes: usize,
}

/// The files, by their last use.
#[derive(Debug)]
pub(super) struct Eviction(Lru<Arc<Path>, ()>);

impl Eviction {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Lru::new(max_bytes))
    }

    /// The number of files, and the disk space that they use.
    pub(super) fn usage(&self) -> (usize, usize) {
        self.0.usage()
    }

    /// Adds a file, which counts as used. Returns the files to remove.
    pub(super) fn add(&mut self, StoredFile { path, bytes }: StoredFile) -> Vec<Arc<Path>> {
        let evicted = self.0.insert(path, (), bytes.next_multiple_of(DISK_BLOCK_BYTES));
        evicted.into_iter().map(|(path, ())| path).collect()
    }

    /// Records whether a file was there when it was read.
    pub(super) fn read(&mut self, path: &Arc<Path>, was_there: bool) {
        if was_there {
            self.0.get(path);
        } else {
            self.0.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: usize) -> StoredFile {
        StoredFile { path: Path::new(path).into(), bytes }
    }

    #[test]
    fn the_least_recently_used_files_go_first() {
        let mut eviction = Eviction::new(3 * DISK_BLOCK_BYTES);
        for path in ["a/1", "b/1", "b/2"] {
            assert!(eviction.add(file(path, 1)).is_empty());
        }
        eviction.read(&Path::new("a/1").into(), true);
        let grown = eviction.add(file("b/2", DISK_BLOCK_BYTES + 1));
        assert_eq!(grown, [Path::new("b/1").into()]);
        eviction.read(&Path::new("b/2").into(), false);
        assert_eq!(eviction.add(file("c/1", 3 * DISK_BLOCK_BYTES)), [Path::new("a/1").into()]);
    }
}
