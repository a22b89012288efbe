//! Content by digest, for the repository in which it was seen: in memory for a while, and on disk if it is
//! public.
//!
//! Must never return private content to a request with another token, nor write it to the disk.

use super::descriptor_index::DescriptorIndex;
use super::disk::DiskCache;
use super::entry::{CacheEntry, CacheKey};
use super::memory::MemoryCache;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The cache in memory and on disk. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ContentCache {
    memory: Arc<Mutex<MemoryCache>>,
    descriptor_index: Arc<DescriptorIndex>,
    disk: Option<Arc<DiskCache>>,
}

impl ContentCache {
    /// A cache with this directory, if there is one.
    pub(crate) fn open(directory: Option<PathBuf>) -> Self {
        let disk = directory.map(|directory| Arc::new(DiskCache::new(directory)));
        Self { memory: Arc::default(), descriptor_index: Arc::default(), disk }
    }

    /// The descriptors in the cached manifests.
    pub(crate) fn descriptor_index(&self) -> &DescriptorIndex {
        &self.descriptor_index
    }

    /// Content from memory or from the disk.
    pub(crate) async fn get(&self, key: &CacheKey) -> Option<CacheEntry> {
        if let Some(entry) = self.get_from_memory(key) {
            return Some(entry);
        }
        let disk = Arc::clone(self.disk.as_ref().filter(|_| key.scope.is_public())?);
        let wanted = key.clone();
        let entry = tokio::task::spawn_blocking(move || disk.read(&wanted)).await.ok()??;
        self.insert(key.clone(), entry.clone());
        Some(entry)
    }

    /// Content from memory.
    pub(crate) fn get_from_memory(&self, key: &CacheKey) -> Option<CacheEntry> {
        self.memory().get(key, Instant::now())
    }

    /// Stores content.
    pub(crate) fn put(&self, key: CacheKey, entry: CacheEntry) {
        self.insert(key.clone(), entry.clone());
        if let Some(disk) = self.disk.clone().filter(|_| key.scope.is_public()) {
            // A slow disk must not delay the response.
            tokio::task::spawn_blocking(move || disk.write(&key, &entry));
        }
    }

    fn insert(&self, key: CacheKey, entry: CacheEntry) {
        self.descriptor_index.insert_manifest(&entry);
        self.memory().insert(key, entry, Instant::now());
    }

    fn memory(&self) -> MutexGuard<'_, MemoryCache> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{blob, key, with_token};
    use super::*;

    #[tokio::test]
    async fn private_content_is_never_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("content");
        let (entry, cache) = (blob(b"config"), ContentCache::open(Some(directory.clone())));
        let public = key("docker.io", "alice/a", &entry);
        let hers = with_token(&public, "hers");
        cache.put(hers.clone(), entry.clone());
        assert_eq!(cache.get(&hers).await, Some(entry.clone()));
        DiskCache::new(directory.clone()).write(&public, &entry);
        assert_eq!(ContentCache::open(Some(directory)).get(&hers).await, None, "nor is it read from there");
    }
}
