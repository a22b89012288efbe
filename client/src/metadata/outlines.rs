//! What digests stand for, by the manifests that name them.
//!
//! Says what may be worth waiting for, and what an engine's choice tells about it; never what is in
//! a registry.

use super::kept::Kept;
use docxy_protocol::limits::PREFETCH_MANIFEST_MAX;
use docxy_protocol::manifest::{Descriptor, Manifest};
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::ContentKind;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Digests remembered at most: some hundred images.
const MOST: usize = 4096;

/// Digests remembered of one manifest. Engines stop at 127 layers, and no registry pushes out what
/// was learned from others.
const OF_ONE_MANIFEST_MAX: usize = 256;

/// What a digest stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// One entry of an index.
    Image(Option<Platform>),
    /// Config or layer of an image, of so many bytes.
    Blob(u64),
}

/// What was learned from the manifests that came by.
#[derive(Debug, Default)]
pub(super) struct Outlines(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    roles: HashMap<Digest, Role>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

impl Outlines {
    /// Takes note of what a manifest names.
    pub(super) fn note(&self, kept: &Kept) {
        let Some(manifest) = parse(kept) else { return };
        let mut known = self.known();
        match manifest {
            Manifest::Index(entries) => {
                for Descriptor { digest, platform, .. } in entries.into_iter().take(OF_ONE_MANIFEST_MAX) {
                    known.insert(digest, Role::Image(platform));
                }
            }
            Manifest::Image(image) => {
                let blobs = [image.config].into_iter().chain(image.layers);
                for Descriptor { digest, size, .. } in blobs.take(OF_ONE_MANIFEST_MAX) {
                    known.insert(digest, Role::Blob(size));
                }
            }
        }
    }

    /// What a digest stands for, if a manifest has named it.
    pub(super) fn role(&self, digest: &Digest) -> Option<Role> {
        self.known().roles.get(digest).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn insert(&mut self, digest: Digest, role: Role) {
        if self.roles.insert(digest.clone(), role).is_none() {
            self.order.push_back(digest);
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.roles.remove(&oldest);
            }
        }
    }
}

/// The manifest, if it is one that we can read, and small enough to be read between other work.
pub(super) fn parse(kept: &Kept) -> Option<Manifest> {
    match kept.content() {
        ContentKind::Manifest { content_type } if kept.bytes().len() <= PREFETCH_MANIFEST_MAX => {
            Manifest::parse(kept.bytes(), Some(content_type)).ok()
        }
        ContentKind::Manifest { .. } | ContentKind::Blob => None,
    }
}
