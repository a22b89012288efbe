//! What digests stand for, from the manifests that name them.
//!
//! Shows which content a prefetch may bring, and which platform an engine chose. Never answers for a
//! registry.

use super::entry::CacheEntry;
use docxy_protocol::limits::PREFETCH_MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::{Descriptor, Manifest};
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::ContentKind;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

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

/// The roles of known digests.
#[derive(Debug, Default)]
pub(crate) struct DescriptorIndex(Mutex<Roles>);

#[derive(Debug, Default)]
struct Roles {
    by_digest: HashMap<Digest, Role>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

impl DescriptorIndex {
    /// Adds the digests that a manifest names.
    pub(crate) fn insert_manifest(&self, entry: &CacheEntry) {
        let Some(manifest) = parse_manifest(entry) else { return };
        let mut roles = self.0.lock();
        match manifest {
            Manifest::Index(entries) => {
                for Descriptor { digest, platform, .. } in entries.into_iter().take(DIGESTS_PER_MANIFEST_MAX)
                {
                    roles.insert(digest, Role::Image(platform));
                }
            }
            Manifest::Image(image) => {
                let blobs = [image.config].into_iter().chain(image.layers);
                for Descriptor { digest, size, .. } in blobs.take(DIGESTS_PER_MANIFEST_MAX) {
                    roles.insert(digest, Role::Blob(size));
                }
            }
        }
    }

    /// What a digest stands for, if a manifest has named it.
    pub(crate) fn role(&self, digest: &Digest) -> Option<Role> {
        self.0.lock().by_digest.get(digest).cloned()
    }
}

impl Roles {
    fn insert(&mut self, digest: Digest, role: Role) {
        if self.by_digest.insert(digest.clone(), role).is_none() {
            self.order.push_back(digest);
        }
        while self.order.len() > DIGESTS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_digest.remove(&oldest);
            }
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
