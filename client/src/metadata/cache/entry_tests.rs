//! For tests: content of the cache.

use super::CacheEntry;
use bytes::Bytes;
use docxy_host::store::{Content, Key};
use docxy_protocol::digester::Digester;
use docxy_protocol::prefetch::ContentKind;
use std::sync::Arc;

/// A blob of these bytes.
pub(crate) fn blob(bytes: &[u8]) -> CacheEntry {
    entry(ContentKind::Blob, bytes)
}

/// A manifest of this media type.
pub(crate) fn manifest(content_type: &str, bytes: &[u8]) -> CacheEntry {
    entry(ContentKind::Manifest { content_type: content_type.to_owned() }, bytes)
}

fn entry(kind: ContentKind, bytes: &[u8]) -> CacheEntry {
    let digest = Digester::sha256().digest(bytes);
    Arc::new(Content::new(digest, kind, Bytes::copy_from_slice(bytes)).unwrap())
}

/// The key of public content.
pub(crate) fn key(registry: &str, repository: &str, entry: &CacheEntry) -> Key {
    Key::public(&registry.parse().unwrap(), &repository.parse().unwrap(), entry.digest().clone())
}
