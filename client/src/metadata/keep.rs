//! A manifest on its way to an engine, kept for the next time.
//!
//! Watches what passes and never changes it.

use super::kept::{Home, Kept, Key};
use super::store::Store;
use bytes::{Bytes, BytesMut};
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::{Method, Operation, Request};
use http::{StatusCode, header};

/// A manifest that passes.
#[derive(Debug)]
pub(crate) struct Keep {
    store: Store,
    key: Key,
    content_type: String,
    bytes: BytesMut,
    /// Of what has passed: taken piece by piece, since hashing a large manifest at its end would take
    /// as long as serving others.
    checksum: Digester,
    /// What is still to come.
    left: usize,
}

impl Keep {
    /// For an answer of known length that says what it is, if it is a manifest's.
    pub(super) fn new(
        store: &Store,
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
        let key = Key { home: Home::of(request)?, digest };
        // What comes ahead has none that is longer, and neither has any manifest.
        let content_type =
            headers.get_str(&header::CONTENT_TYPE).filter(|text| text.len() <= 255)?.to_owned();
        let checksum = Digester::matching(&key.digest);
        let bytes = BytesMut::new();
        Some(Self { store: store.clone(), key, content_type, bytes, checksum, left: length })
    }

    /// Takes a look at what passes. With the last byte the manifest is kept, before the engine has it
    /// and asks for what it names.
    pub(crate) fn watch(&mut self, bytes: &Bytes) {
        if bytes.is_empty() || bytes.len() > self.left {
            return;
        }
        self.left -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.checksum.update(bytes);
        if self.left == 0 {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let content = ContentKind::Manifest { content_type: std::mem::take(&mut self.content_type) };
        let found = std::mem::replace(&mut self.checksum, Digester::matching(&self.key.digest)).finish();
        match Kept::compare(self.key.digest.clone(), found, content, self.bytes.split().freeze()) {
            Ok(kept) => self.store.put(self.key.clone(), kept),
            Err(poisoned) => {
                let Home { registry, repository, .. } = &self.key.home;
                tracing::warn!(
                    hop = "registry", %registry, %repository, reason = %poisoned,
                    "a manifest is wrong; engines won't take it, and it was not kept"
                );
            }
        }
    }
}
