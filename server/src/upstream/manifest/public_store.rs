//! The stored manifests of one registry, which all clients share.
//!
//! Must never store a manifest without the proof that everybody may read it.

use crate::store::{Key, Scope, Store, StoredManifest};
use crate::upstream::registry::public_proof::PublicProof;
use docxy_protocol::accept::accepts;
use docxy_protocol::name::{Digest, Registry, Repository};
use docxy_protocol::request::Request;
use std::sync::Arc;

/// The manifests of one registry. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct PublicStore {
    registry: Registry,
    store: Store,
}

impl PublicStore {
    pub(crate) const fn new(registry: Registry, store: Store) -> Self {
        Self { registry, store }
    }

    /// A manifest, if it is stored.
    pub(crate) async fn get(&self, repository: &Repository, digest: &Digest) -> Option<Arc<StoredManifest>> {
        self.store.get(&Key::public(&self.registry, repository, digest.clone())).await
    }

    /// A manifest, if it is in memory.
    pub(crate) fn get_from_memory(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Option<Arc<StoredManifest>> {
        self.store.get_from_memory(&Key::public(&self.registry, repository, digest.clone()))
    }

    /// Whether any manifest of this repository is stored.
    pub(crate) async fn may_contain(&self, repository: &Repository) -> bool {
        self.store.may_contain(&Scope::public(&self.registry, repository)).await
    }

    /// Stores the manifest that `proof` is about.
    pub(crate) fn share(&self, proof: &PublicProof, manifest: &Arc<StoredManifest>) {
        self.store.put(&proof.key(), manifest);
    }
}

/// Whether a request accepts a manifest of this type. To one that does not, a registry may respond 404.
pub(crate) fn is_acceptable(request: &Request, manifest: &StoredManifest) -> bool {
    manifest.content_type().is_some_and(|own| accepts(request.headers.map(), own))
}
