//! Stores a manifest while it passes to an engine.
//!
//! Never changes or delays what passes.

use super::content_cache::{CacheEntry, ContentCache};
use bytes::Bytes;
use docxy_host::store::{Key, Scope, Writer};
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::{Method, Operation, Request};
use http::{StatusCode, header};

/// Stores one manifest.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    cache: ContentCache,
    /// `None` after the last byte.
    writer: Option<Writer<ContentKind>>,
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
        let encoded = is_encoded(headers);
        let length = headers.get_str(&header::CONTENT_LENGTH)?.parse::<usize>().ok()?;
        if status != StatusCode::OK || encoded || !(1..=MANIFEST_BYTES_MAX).contains(&length) {
            return None;
        }
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => Digest::of_response(headers)?,
        };
        let key = Key { scope: Scope::of(request)?, digest };
        // The same limit as for prefetched manifests. Real media types are shorter.
        let content_type = headers.get_str(&header::CONTENT_TYPE).filter(|text| text.len() <= 255)?;
        let writer = cache.writer(key, content_type.to_owned(), length);
        Some(Self { cache: cache.clone(), writer: Some(writer) })
    }

    /// Adds bytes that pass. The manifest is stored with its last byte, before the engine receives that and
    /// requests what it names. Returns it then.
    pub(crate) fn write(&mut self, bytes: &Bytes) -> Option<CacheEntry> {
        let writer = self.writer.as_mut()?;
        writer.write(bytes);
        let writer = self.writer.take_if(|writer| writer.is_complete())?;
        let Scope { registry, repository, .. } = writer.key().scope.clone();
        let finished = self.cache.finish(writer).inspect_err(|reason| {
            tracing::warn!(
                hop = "registry", %registry, %repository, %reason,
                "a manifest does not match its digest; it is not cached"
            );
        });
        finished.ok()
    }
}
