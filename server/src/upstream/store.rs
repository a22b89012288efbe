//! Stores public manifests, so that each is fetched once: the last used ones in memory, all in files.
//!
//! Must never hold a private manifest: `upstream` stores them only with a `PublicProof`.

pub(crate) use docxy_host::lru::Lru;
pub(crate) use docxy_host::store::{Key, Scope, remove_oldest};

use docxy_host::store::{self, Content, Limits};
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::STORED_MANIFEST_BYTES_MAX;
use std::path::PathBuf;
use std::time::Duration;

/// The manifests of all registries.
pub(crate) type Store = store::Store<Headers>;

/// A manifest, with the header fields of its response.
pub(crate) type StoredManifest = Content<Headers>;

const LIMITS: Limits = Limits {
    memory_bytes: STORED_MANIFEST_BYTES_MAX,
    // More than a busy server fetches in a year.
    disk_bytes: 256 * 1024 * 1024,
    public_lifetime: Duration::MAX,
    private_lifetime: Duration::ZERO,
};

/// The store in this directory, which may not exist yet. It keeps so many bytes in memory.
pub(crate) fn open(directory: PathBuf, memory_bytes: usize) -> Store {
    let store = Store::open(Some(directory), Limits { memory_bytes, ..LIMITS });
    store.list_files();
    store
}

/// The same for a process that must not change the files.
pub(crate) fn read_only(directory: PathBuf) -> Store {
    Store::read_only(directory, LIMITS)
}
