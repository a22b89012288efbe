//! Which files to remove, so that all together stay within a limit.
//!
//! Pure: the caller lists, writes and removes files.

use crate::lru::Lru;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
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
pub(super) struct Eviction {
    files: Lru<Arc<Path>, ()>,
    /// The number of files in each directory.
    directories: HashMap<PathBuf, usize>,
}

impl Eviction {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { files: Lru::new(max_bytes), directories: HashMap::new() }
    }

    /// Adds a file, which counts as used. Returns the files to remove.
    pub(super) fn add(&mut self, file: StoredFile) -> Vec<Arc<Path>> {
        self.forget(&file.path);
        if let Some(directory) = file.path.parent() {
            *self.directories.entry(directory.to_owned()).or_default() += 1;
        }
        let evicted = self.files.insert(file.path, (), file.bytes.next_multiple_of(DISK_BLOCK_BYTES));
        let evicted: Vec<_> = evicted.into_iter().map(|(path, ())| path).collect();
        evicted.iter().for_each(|path| self.uncount(path));
        evicted
    }

    pub(super) fn used(&mut self, path: &Path) {
        let _ = self.files.get(path);
    }

    /// Removes a file that is gone.
    pub(super) fn forget(&mut self, path: &Path) {
        if self.files.remove(path).is_some() {
            self.uncount(path);
        }
    }

    /// Whether there is a file in this directory.
    pub(super) fn has_directory(&self, directory: &Path) -> bool {
        self.directories.contains_key(directory)
    }

    fn uncount(&mut self, path: &Path) {
        let Some(directory) = path.parent() else { return };
        if let Some(count) = self.directories.get_mut(directory) {
            *count -= 1;
            if *count == 0 {
                self.directories.remove(directory);
            }
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
    fn the_least_recently_used_files_go_first_and_their_directories_with_the_last() {
        let mut eviction = Eviction::new(3 * DISK_BLOCK_BYTES);
        for path in ["a/1", "b/1", "b/2"] {
            assert!(eviction.add(file(path, 1)).is_empty());
        }
        eviction.used(Path::new("a/1"));
        assert_eq!(
            eviction.add(file("b/2", DISK_BLOCK_BYTES + 1)),
            [Path::new("b/1").into()],
            "it has grown"
        );
        assert!(eviction.has_directory(Path::new("b")) && eviction.has_directory(Path::new("a")));
        eviction.forget(Path::new("b/2"));
        assert!(!eviction.has_directory(Path::new("b")));
        assert_eq!(eviction.add(file("c/1", 3 * DISK_BLOCK_BYTES)), [Path::new("a/1").into()]);
        assert!(!eviction.has_directory(Path::new("a")) && eviction.has_directory(Path::new("c")));
    }
}
