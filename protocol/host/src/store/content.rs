//! Content that matches its digest, and its key.
//!
//! Must never be made of other bytes.

use super::scope::Scope;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::PREFETCH_MANIFEST_BYTES_MAX;
use docxy_protocol::name::{Digest, Registry, Repository};
use http::header;

/// Identifies content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{}/{}@{digest}", scope.registry, scope.repository)]
pub struct Key {
    /// Who may see it.
    pub scope: Scope,
    /// Its digest.
    pub digest: Digest,
}

impl Key {
    /// The key of what is public.
    #[must_use]
    pub fn public(registry: &Registry, repository: &Repository, digest: Digest) -> Self {
        Self { scope: Scope::public(registry, repository), digest }
    }
}

/// Content that matches its digest, with a head: what else its reader needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<H> {
    digest: Digest,
    head: H,
    bytes: Bytes,
}

/// Content that does not match its digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digest should be {expected} and is {found}")]
pub struct DigestMismatch {
    expected: Digest,
    found: Digest,
}

impl<H> Content<H> {
    /// Hashes the bytes and compares the digest.
    ///
    /// # Errors
    /// If the bytes have another digest.
    pub fn new(digest: Digest, head: H, bytes: Bytes) -> Result<Self, DigestMismatch> {
        let found = Digester::matching(&digest).digest(&bytes);
        Self::compare(digest, found, head, bytes)
    }

    /// The same, on a thread of its own if the bytes are many, so that hashing does not delay other tasks.
    ///
    /// # Errors
    /// If the bytes have another digest.
    pub async fn check(digest: Digest, head: H, bytes: Bytes) -> Result<Self, DigestMismatch>
    where
        H: Send + 'static,
    {
        if bytes.len() <= PREFETCH_MANIFEST_BYTES_MAX {
            return Self::new(digest, head, bytes);
        }
        let checked = tokio::task::spawn_blocking(move || Self::new(digest, head, bytes)).await;
        checked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    /// The same for bytes whose digest `found` was computed while they arrived.
    pub(super) fn compare(
        digest: Digest,
        found: Digest,
        head: H,
        bytes: Bytes,
    ) -> Result<Self, DigestMismatch> {
        if found == digest {
            Ok(Self { digest, head, bytes })
        } else {
            Err(DigestMismatch { expected: digest, found })
        }
    }

    /// The digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What was stored with the bytes.
    #[must_use]
    pub const fn head(&self) -> &H {
        &self.head
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Content<Headers> {
    /// The media type, as the registry reported it.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.head.get_str(&header::CONTENT_TYPE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn content_must_match_its_digest() {
        for length in [4, PREFETCH_MANIFEST_BYTES_MAX + 1] {
            let (good, other) = (Bytes::from(vec![b'a'; length]), Bytes::from(vec![b'b'; length]));
            let digest = Digester::sha256().digest(&good);
            assert_eq!(Content::check(digest.clone(), (), good.clone()).await.unwrap().bytes(), &good);
            let error = Content::check(digest.clone(), (), other).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("the digest should be {digest} and is sha256:")), "{error}");
        }
    }
}
