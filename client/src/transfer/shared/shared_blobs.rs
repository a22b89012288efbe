//! The blobs that are kept, by request.
//!
//! Must never return a private blob without saying that its asker may not see it yet.

use super::expected::Expected;
use super::shared_blob::SharedBlob;
use docxy_host::blob_store::{BlobKey, BlobOwner, BlobStore, StoredBlob};
use docxy_protocol::name::{Digest, Registry};
use docxy_protocol::request::{Operation, Request};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// The blobs on the disk and in flight. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct SharedBlobs {
    store: BlobStore,
    /// Whether blobs that are not public are stored too.
    keeps_private: bool,
    /// How long a blob counts as public after it was proven.
    public_for: Duration,
    in_use: InUse<BlobKey, SharedBlob>,
    /// The blobs whose first response is awaited.
    first_requests: InUse<(Registry, BlobKey), tokio::sync::Mutex<()>>,
    pub(super) expected: Expected,
}

type InUse<K, V> = Arc<Mutex<HashMap<K, Weak<V>>>>;

/// A blob, of which something is stored or in flight.
pub(crate) struct Found {
    pub(crate) blob: Arc<SharedBlob>,
    /// Whether it is public. If not, its registry must show it to the asker first.
    pub(crate) is_public: bool,
}

impl Found {
    /// Its registry has just shown it to this request.
    pub(crate) fn shown_to(&self, request: &Request) {
        if !request.has_credential() {
            self.blob.set_public();
        }
    }
}

impl SharedBlobs {
    /// Whether those of private repositories are kept.
    pub(crate) const fn keeps_private(&self) -> bool {
        self.keeps_private
    }

    pub(crate) fn new(store: BlobStore, keeps_private: bool, public_for: Duration) -> Self {
        let (in_use, first_requests) = (InUse::default(), InUse::default());
        Self { store, keeps_private, public_for, in_use, first_requests, expected: Expected::default() }
    }

    pub(crate) const fn store(&self) -> &BlobStore {
        &self.store
    }

    /// The key under which the content that the registry shows to this request may be stored.
    pub(crate) fn key(&self, request: &Request) -> Option<BlobKey> {
        let Operation::Blob { repository, digest, .. } = &request.operation else { return None };
        let owner = match request.has_credential() {
            false => BlobOwner::Public,
            true if self.keeps_private => BlobOwner::Private(request.registry.clone(), repository.clone()),
            true => return None,
        };
        Some(BlobKey { digest: digest.clone(), owner })
    }

    /// The blob of a request, if something of it is there. What a request without a credential finds is public, so one with
    /// a credential is to be sent without it first.
    pub(crate) async fn find(&self, request: &Request) -> Option<Found> {
        let key = self.key(request)?;
        self.get(&key).await.map(|blob| self.found(blob))
    }

    pub(super) fn found(&self, blob: Arc<SharedBlob>) -> Found {
        let is_of_everybody = blob.stored.key().owner == BlobOwner::Public;
        let is_public = is_of_everybody && blob.is_public(self.public_for);
        Found { blob, is_public }
    }

    /// A blob that neighbours may have: it is public, and all of it is here and right.
    pub(crate) async fn to_share(&self, digest: &Digest) -> Option<StoredBlob> {
        let key = BlobKey { digest: digest.clone(), owner: BlobOwner::Public };
        let blob = self.get(&key).await?;
        (blob.stored.is_verified() && blob.is_public(self.public_for)).then(|| blob.stored.clone())
    }

    /// Waits until what comes ahead of an engine's request shows that the blob is public; `false` if nothing does.
    pub(crate) async fn is_shown_ahead(&self, blob: &SharedBlob) -> bool {
        blob.is_shown_ahead(self.public_for).await
    }

    /// The blob with this key and size, of which nothing may be there yet. `None` if it is known with another size.
    pub(crate) async fn open(&self, key: &BlobKey, size: u64) -> Option<Arc<SharedBlob>> {
        let blob = match self.in_use(key) {
            Some(blob) => blob,
            None if size > 0 => self.share(self.store.blob(key, size).await),
            None => return None,
        };
        (blob.size() == size).then_some(blob)
    }

    /// Waits until no other request for this blob at this registry waits for its response. The next one waits until this is
    /// dropped.
    pub(crate) async fn first_request(&self, request: &Request) -> Option<OwnedMutexGuard<()>> {
        let key = (request.registry.clone(), self.key(request)?);
        Some(share_in(&self.first_requests, key, tokio::sync::Mutex::default).lock_owned().await)
    }

    async fn get(&self, key: &BlobKey) -> Option<Arc<SharedBlob>> {
        if let Some(blob) = self.in_use(key) {
            return Some(blob);
        }
        // Most requests are for what is not there.
        if !self.store.contains(key) {
            return None;
        }
        Some(self.share(self.store.find(key).await?))
    }

    fn in_use(&self, key: &BlobKey) -> Option<Arc<SharedBlob>> {
        self.in_use.lock().get(key)?.upgrade()
    }

    fn share(&self, stored: StoredBlob) -> Arc<SharedBlob> {
        share_in(&self.in_use, stored.key().clone(), || SharedBlob::new(stored))
    }
}

/// The value of this key that is in use, or a new one.
fn share_in<K: Eq + Hash, V>(map: &InUse<K, V>, key: K, new: impl FnOnce() -> V) -> Arc<V> {
    let mut map = map.lock();
    if let Some(value) = map.get(&key).and_then(Weak::upgrade) {
        return value;
    }
    map.retain(|_, value| value.strong_count() > 0);
    let value = Arc::new(new());
    map.insert(key, Arc::downgrade(&value));
    value
}
