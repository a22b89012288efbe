//! The store of this client, and what the manifests in it name.

use super::descriptor_index::DescriptorIndex;
use docxy_host::store::{Content, Key, Limits, Store, WriteError, Writer};
use docxy_protocol::prefetch::ContentKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Content that matches its digest, and what it is.
pub(crate) type CacheEntry = Arc<Content<ContentKind>>;

const LIMITS: Limits = Limits {
    // Some thousand manifests and configs.
    memory_bytes: 16 * 1024 * 1024,
    // Some ten thousand manifests.
    disk_bytes: 64 * 1024 * 1024,
    // An engine completes an image within that time.
    public_lifetime: Duration::from_secs(3600),
    // About as long as registries accept a token.
    private_lifetime: Duration::from_secs(300),
};

/// The cache in memory and on disk. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ContentCache {
    store: Store<ContentKind>,
    descriptor_index: Arc<DescriptorIndex>,
}

impl ContentCache {
    /// A cache with this directory, if there is one.
    pub(crate) fn open(directory: Option<PathBuf>) -> Self {
        Self { store: Store::open(directory, LIMITS), descriptor_index: Arc::default() }
    }

    /// The descriptors in the cached manifests.
    pub(crate) fn descriptor_index(&self) -> &DescriptorIndex {
        &self.descriptor_index
    }

    /// Content from memory or from the disk.
    pub(crate) async fn get(&self, key: &Key) -> Option<CacheEntry> {
        if let Some(entry) = self.get_from_memory(key) {
            return Some(entry);
        }
        let entry = self.store.get(key).await?;
        self.descriptor_index.insert_manifest(&entry, &key.scope);
        Some(entry)
    }

    /// Content from memory.
    pub(crate) fn get_from_memory(&self, key: &Key) -> Option<CacheEntry> {
        self.store.get_from_memory(key)
    }

    /// Stores content.
    pub(crate) fn put(&self, key: &Key, entry: &CacheEntry) {
        self.descriptor_index.insert_manifest(entry, &key.scope);
        self.store.put(key, entry);
    }

    /// A writer for a manifest of this length.
    pub(super) fn writer(&self, key: Key, content_type: String, length: usize) -> Writer<ContentKind> {
        self.store.writer(key, ContentKind::Manifest { content_type }, length)
    }

    /// Stores what was written, and returns it.
    ///
    /// # Errors
    /// If the bytes have another length or digest.
    pub(super) fn finish(&self, writer: Writer<ContentKind>) -> Result<CacheEntry, WriteError> {
        let scope = writer.key().scope.clone();
        let entry = writer.finish()?;
        self.descriptor_index.insert_manifest(&entry, &scope);
        Ok(entry)
    }
}
