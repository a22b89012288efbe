//! Stores a manifest while it passes to an engine.
//!
//! Never changes or delays what passes.

use super::content_cache::ContentCache;
use super::entry::{CacheEntry, CacheKey, CacheScope};
use bytes::{Bytes, BytesMut};
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::{Method, Operation, Request};
use http::{StatusCode, header};

/// Stores one manifest.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    cache: ContentCache,
    key: CacheKey,
    content_type: String,
    bytes: BytesMut,
    /// The hash of the bytes so far. Hashing a large manifest at once would delay other tasks.
    digester: Digester,
    /// The bytes that are missing.
    left: usize,
}

impl ManifestWriter {
    /// For a response with a manifest of known length and type.
    pub(crate) fn new(
        cache: &ContentCache,
        request: &Request,
        status: StatusCode,
        headers: &Headers,
    ) -> Option<Self> {
        let Operation::Manifest { reference, method: Method::Get, .. } = &request.operation else {
            return None;
        };
        let encoded = headers.map().contains_key(header::CONTENT_ENCODING);
        let length = headers.get_str(&header::CONTENT_LENGTH)?.parse::<usize>().ok()?;
        if status != StatusCode::OK || encoded || !(1..=MANIFEST_MAX).contains(&length) {
            return None;
        }
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => headers.get_str(&DOCKER_CONTENT_DIGEST)?.parse::<Digest>().ok()?,
        };
        let key = CacheKey { scope: CacheScope::of(request)?, digest };
        // The same limit as for prefetched manifests. Real media types are shorter.
        let content_type =
            headers.get_str(&header::CONTENT_TYPE).filter(|text| text.len() <= 255)?.to_owned();
        let digester = Digester::matching(&key.digest);
        let bytes = BytesMut::new();
        Some(Self { cache: cache.clone(), key, content_type, bytes, digester, left: length })
    }

    /// Adds bytes that pass. The manifest is stored with its last byte, before the engine receives that and
    /// requests what it names.
    pub(crate) fn write(&mut self, bytes: &Bytes) {
        if bytes.is_empty() || bytes.len() > self.left {
            return;
        }
        self.left -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.digester.update(bytes);
        if self.left == 0 {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let content = ContentKind::Manifest { content_type: std::mem::take(&mut self.content_type) };
        let found = std::mem::replace(&mut self.digester, Digester::matching(&self.key.digest)).finish();
        match CacheEntry::compare(self.key.digest.clone(), found, content, self.bytes.split().freeze()) {
            Ok(entry) => self.cache.put(self.key.clone(), entry),
            Err(mismatch) => {
                let CacheScope { registry, repository, .. } = &self.key.scope;
                tracing::warn!(
                    hop = "registry", %registry, %repository, reason = %mismatch,
                    "a manifest does not match its digest; it is not cached"
                );
            }
        }
    }
}
