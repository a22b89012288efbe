//! What digests stand for, from the manifests that name them.
//!
//! Shows which content a prefetch may bring, and which platform an engine chose. Never answers for a
//! registry.

use super::CacheScope;
use super::content_cache::CacheEntry;
use docxy_host::lru::Lru;
use docxy_protocol::limits::PREFETCH_MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::{ImageManifest, Manifest};
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::ContentKind;
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Notify;

/// The most digests: some hundred images.
const DIGESTS_MAX: usize = 4096;

/// Maximum number of digests of one manifest. Engines stop at 127 layers, and one registry must not displace what is
/// known of others.
const DIGESTS_PER_MANIFEST_MAX: usize = 256;

/// What a digest stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// A manifest in an index.
    Image(Option<Platform>),
    /// A config or layer with this size in bytes.
    Blob(u64),
}

/// A layer of an image: its digest, and its size in bytes.
pub(crate) type Layer = (Digest, u64);

/// The roles of known digests.
#[derive(Debug)]
pub(crate) struct DescriptorIndex {
    /// Each with whether a public manifest names it.
    roles: Mutex<Lru<Digest, (Role, bool)>>,
    inserted: Notify,
    /// By each layer: all layers of the image that named it last, in their order.
    images: Mutex<Lru<Digest, Arc<[Layer]>>>,
}

impl Default for DescriptorIndex {
    fn default() -> Self {
        Self {
            roles: Mutex::new(Lru::new(DIGESTS_MAX)),
            inserted: Notify::new(),
            images: Mutex::new(Lru::new(DIGESTS_MAX)),
        }
    }
}

impl DescriptorIndex {
    /// Adds the digests that a manifest of this scope names.
    pub(crate) fn insert_manifest(&self, entry: &CacheEntry, scope: &CacheScope) {
        let named: Vec<(Digest, Role)> = match parse_manifest(entry) {
            Some(Manifest::Index(entries)) => {
                entries.into_iter().map(|entry| (entry.digest, Role::Image(entry.platform))).collect()
            }
            Some(Manifest::Image(image)) => {
                self.insert_image(&image);
                let blobs = [image.config].into_iter().chain(image.layers);
                blobs.map(|blob| (blob.digest, Role::Blob(blob.size))).collect()
            }
            None => return,
        };
        let mut roles = self.roles.lock();
        for (digest, role) in named.into_iter().take(DIGESTS_PER_MANIFEST_MAX) {
            let was_public = roles.get(&digest).is_some_and(|(_, in_public_manifest)| *in_public_manifest);
            roles.insert(digest, (role, scope.is_public() || was_public), 1);
        }
        drop(roles);
        self.inserted.notify_waiters();
    }

    fn insert_image(&self, image: &ImageManifest) {
        let layers = image.layers.iter().take(DIGESTS_PER_MANIFEST_MAX);
        let layers: Arc<[Layer]> = layers.map(|layer| (layer.digest.clone(), layer.size)).collect();
        let mut images = self.images.lock();
        for (digest, _) in &*layers {
            images.insert(digest.clone(), Arc::clone(&layers), 1);
        }
    }

    /// The layers of the image that named this layer last, in their order.
    pub(crate) fn image_of(&self, layer: &Digest) -> Option<Arc<[Layer]>> {
        self.images.lock().get(layer).cloned()
    }

    /// What a digest stands for, if a manifest has named it.
    pub(crate) fn role(&self, digest: &Digest) -> Option<Role> {
        self.roles.lock().get(digest).map(|(role, _)| role.clone())
    }

    /// The size in bytes of a blob, if a public manifest has named it.
    pub(crate) fn public_blob_size(&self, digest: &Digest) -> Option<u64> {
        match self.roles.lock().get(digest) {
            Some((Role::Blob(size), true)) => Some(*size),
            _ => None,
        }
    }

    /// Waits until a manifest has named this blob. Returns its size in bytes.
    pub(crate) async fn blob_size(&self, digest: &Digest) -> u64 {
        loop {
            let mut inserted = pin!(self.inserted.notified());
            // Before the look, so that an insertion in between is noticed.
            inserted.as_mut().enable();
            if let Some(Role::Blob(size)) = self.role(digest) {
                return size;
            }
            inserted.await;
        }
    }
}

/// The manifest, if it is valid and small enough to be parsed between other work.
pub(crate) fn parse_manifest(entry: &CacheEntry) -> Option<Manifest> {
    match entry.head() {
        ContentKind::Manifest { content_type } if entry.bytes().len() <= PREFETCH_MANIFEST_BYTES_MAX => {
            Manifest::parse(entry.bytes(), Some(content_type)).ok()
        }
        ContentKind::Manifest { .. } | ContentKind::Blob => None,
    }
}
