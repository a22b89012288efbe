//! All blobs of a directory.

use super::blob::{Blob, StoredBlob};
use super::key::{BlobKey, BlobOwner};
use super::limits::BlobLimits;
use super::state::{BlobStoreState, ListedBlob, OpenError, Prune, Pruned, VerifyReport};
use docxy_protocol::name::{Registry, Repository};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Mutex<HashMap<BlobKey, Arc<Blob>>>>);

impl BlobStore {
    /// The blobs of a directory, which is created. Lists the files, and so blocks. The directory is this process's until
    /// the last clone and the last [`StoredBlob`] are dropped.
    ///
    /// # Errors
    /// If another process has the directory, or it cannot be used. The text is for the user.
    pub fn open(directory: &Path, limits: BlobLimits) -> Result<Self, OpenError> {
        let _ = (directory, limits);
        Ok(Self(Arc::default()))
    }

    /// The blob of this size, of which nothing may be there yet. It is not evicted while a clone lives. The disk is
    /// touched only if something is stored, and written first by [`StoredBlob::write`].
    ///
    /// If a blob that was verified has another size, it is returned all the same: the size given is wrong.
    pub async fn blob(&self, key: &BlobKey, size: u64) -> StoredBlob {
        let mut blobs = self.0.lock();
        let blob = blobs.entry(key.clone()).or_insert_with(|| Blob::new(key.clone(), size));
        StoredBlob::of(Arc::clone(blob))
    }

    /// The blob, if something of it is there.
    pub async fn find(&self, key: &BlobKey) -> Option<StoredBlob> {
        self.0.lock().get(key).map(|blob| StoredBlob::of(Arc::clone(blob)))
    }

    /// Whether something of the blob is there. Never touches the disk.
    #[must_use]
    pub fn contains(&self, key: &BlobKey) -> bool {
        self.0.lock().contains_key(key)
    }

    /// Returns when all that was written before is in the files, for tests and at the end of a process.
    pub async fn flush(&self) {}

    /// Removes the private blobs of these repositories, whose owner has logged out. Those in use are gone for new
    /// readers. Returns how many.
    pub async fn remove_private(
        &self,
        is_removed: impl Fn(&Registry, &Repository) -> bool + Send + 'static,
    ) -> u64 {
        let mut blobs = self.0.lock();
        let before = blobs.len();
        blobs.retain(|key, _| match &key.owner {
            BlobOwner::Public => true,
            BlobOwner::Private(registry, repository) => !is_removed(registry, repository),
        });
        (before - blobs.len()) as u64
    }

    /// The state, for `/health`. Never touches the disk.
    #[must_use]
    pub fn state(&self) -> BlobStoreState {
        BlobStoreState { blobs: self.0.lock().len() as u64, ..BlobStoreState::default() }
    }

    /// All blobs, the last used first. Reads the head of each file, and so blocks.
    #[must_use]
    pub fn list(&self) -> Vec<ListedBlob> {
        Vec::new()
    }

    /// Removes blobs that are not in use. Blocks.
    #[must_use]
    pub fn prune(&self, prune: Prune) -> Pruned {
        let _ = prune;
        Pruned::default()
    }

    /// Checks all chunks, and the digest of each whole blob. Removes what is wrong. Blocks. Calls `progress` with the
    /// bytes that were checked and all bytes; it may stop the check.
    pub fn verify(&self, progress: impl FnMut(u64, u64) -> ControlFlow<()>) -> VerifyReport {
        let _ = progress;
        VerifyReport::default()
    }
}
