//! All blobs with the space that they use, by their last use.
//!
//! Knows no files. Must never evict a blob that is in use.

use super::blob::Blob;
use super::directory::FoundFile;
use super::key::BlobName;
use hashlink::LinkedHashMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// All blobs, the least recently used first.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: LinkedHashMap<BlobName, Entry>,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The disk space that it uses; 0 if there is no file.
    pub(super) bytes: u64,
    pub(super) used: SystemTime,
    /// If it is in use.
    blob: Weak<Blob>,
}

impl Entry {
    pub(super) fn is_in_use(&self) -> bool {
        self.blob.strong_count() > 0
    }
}

impl Entries {
    /// The disk space that all use.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of blobs with a file.
    pub(super) fn files(&self) -> usize {
        self.entries.values().filter(|entry| entry.bytes > 0).count()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&BlobName, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn get(&self, name: &BlobName) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// These files, the least recently used first.
    pub(super) fn of(files: Vec<FoundFile>) -> Self {
        let bytes = files.iter().map(|file| file.bytes).sum();
        let entry = |FoundFile { name, bytes, used }| (name, Entry { bytes, used, blob: Weak::new() });
        Self { entries: files.into_iter().map(entry).collect(), bytes }
    }

    /// The blob, which `make` makes if it is not in use. `None` if there is no file and it need not be made.
    pub(super) fn open(
        &mut self,
        name: &BlobName,
        is_needed: bool,
        make: impl FnOnce() -> Arc<Blob>,
    ) -> Option<Arc<Blob>> {
        if let Some(entry) = self.entries.get_mut(name) {
            let in_use = entry.blob.upgrade();
            if in_use.is_some() || (!is_needed && entry.bytes == 0) {
                return in_use;
            }
            let blob = make();
            entry.blob = Arc::downgrade(&blob);
            return Some(blob);
        }
        let blob = is_needed.then(make)?;
        let entry = Entry { bytes: 0, used: SystemTime::now(), blob: Arc::downgrade(&blob) };
        self.entries.insert(name.clone(), entry);
        Some(blob)
    }

    /// A blob was used until now.
    pub(super) fn touch(&mut self, name: &BlobName, now: SystemTime) {
        if let Some(entry) = self.entries.to_back(name) {
            entry.used = now;
        }
    }

    /// The blobs in use.
    pub(super) fn in_use(&self) -> Vec<Arc<Blob>> {
        self.entries.values().filter_map(|entry| entry.blob.upgrade()).collect()
    }

    /// Whether this is the blob of that name, and not an earlier one that was removed.
    pub(super) fn is_current(&self, blob: &Arc<Blob>) -> bool {
        self.entries.get(&blob.name).is_some_and(|entry| entry.blob.as_ptr() == Arc::as_ptr(blob))
    }

    /// A file uses so many bytes more, or fewer.
    pub(super) fn resize(&mut self, name: &BlobName, resize: impl FnOnce(u64) -> u64) {
        if let Some(entry) = self.entries.get_mut(name) {
            let bytes = resize(entry.bytes);
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
        }
    }

    pub(super) fn remove(&mut self, name: &BlobName) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Forgets a blob that is not in use and has no file.
    pub(super) fn remove_unused(&mut self, name: &BlobName) {
        if self.entries.get(name).is_some_and(|entry| entry.bytes == 0 && !entry.is_in_use()) {
            self.entries.remove(name);
        }
    }

    /// The least recently used blobs that are not in use, until `bytes` are left, or all that are used were used after
    /// `before`. The caller removes their files.
    pub(super) fn evict(&mut self, bytes: u64, before: Option<SystemTime>) -> Vec<(BlobName, u64)> {
        let mut left = self.bytes;
        let mut evicted = Vec::new();
        for (name, entry) in &self.entries {
            if left <= bytes || before.is_some_and(|before| entry.used > before) {
                break;
            }
            if entry.bytes > 0 && !entry.is_in_use() {
                left -= entry.bytes;
                evicted.push((name.clone(), entry.bytes));
            }
        }
        for (name, _) in &evicted {
            self.remove(name);
        }
        evicted
    }
}
