//! Collects content while it arrives, and hashes each part as it comes: hashing a large document at once
//! would delay other tasks.
//!
//! Must never store incomplete content. A writer that is dropped has failed and leaves nothing.

use super::content::{Content, DigestMismatch, Key};
use super::content_store::Store;
use super::format::ContentHead;
use bytes::BytesMut;
use docxy_protocol::digester::Digester;
use std::sync::Arc;

/// Why the content is not stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There are more or fewer bytes.
    #[error("{expected} bytes were expected and {found} came")]
    Length {
        /// The expected number of bytes.
        expected: usize,
        /// The number that came.
        found: usize,
    },
    /// The bytes are others.
    #[error(transparent)]
    Digest(#[from] DigestMismatch),
}

/// Writes one entry.
#[derive(Debug)]
#[must_use = "dropped without `finish`, it stores nothing"]
pub struct Writer<H> {
    store: Store<H>,
    key: Key,
    head: H,
    digester: Digester,
    bytes: BytesMut,
    expected: usize,
    found: usize,
}

impl<H: ContentHead> Store<H> {
    /// A writer for content of this length.
    pub fn writer(&self, key: Key, head: H, length: usize) -> Writer<H> {
        let digester = Digester::matching(&key.digest);
        let bytes = BytesMut::new();
        Writer { store: self.clone(), key, head, digester, bytes, expected: length, found: 0 }
    }
}

impl<H: ContentHead> Writer<H> {
    /// Adds bytes. Those beyond the length only count.
    pub fn write(&mut self, bytes: &[u8]) {
        self.found += bytes.len();
        if self.found <= self.expected {
            self.bytes.extend_from_slice(bytes);
            self.digester.update(bytes);
        }
    }

    /// Whether all bytes have come.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.found == self.expected
    }

    /// What is written.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Stores the content.
    ///
    /// # Errors
    /// If the bytes have another length or digest.
    pub fn finish(self) -> Result<Arc<Content<H>>, WriteError> {
        let Self { store, key, head, digester, bytes, expected, found } = self;
        if found != expected {
            return Err(WriteError::Length { expected, found });
        }
        let content = Content::compare(key.digest.clone(), digester.finish(), head, bytes.freeze())?;
        let content = Arc::new(content);
        store.put(&key, &content);
        Ok(content)
    }
}
