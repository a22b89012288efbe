//! Content that matches its digest, and where it was seen.

use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::limits::PREFETCH_MANIFEST_MAX;
use docxy_protocol::name::{Digest, Registry, Repository};
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::Request;
use std::fmt;

/// A repository, as seen by everybody or by the holder of one token. ContentKind that was seen there is not
/// returned elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CacheScope {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    token: Option<TokenHash>,
}

/// The hash of the token that is needed.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenHash(Digest);

impl CacheScope {
    /// The scope of a request. `None` with a password, since only the registry can check it.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let repository = request.operation.repository()?.clone();
        let token = match &request.authorization {
            Authorization::None | Authorization::Public => None,
            Authorization::Bearer(token) => {
                Some(TokenHash(Digester::sha256().digest(token.expose().as_bytes())))
            }
            Authorization::Basic(_) => return None,
        };
        Some(Self { registry: request.registry.clone(), repository, token })
    }

    /// Whether content was seen without a token.
    pub(crate) const fn is_public(&self) -> bool {
        self.token.is_none()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder")
    }
}

/// Identifies an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) scope: CacheScope,
    pub(crate) digest: Digest,
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.scope.registry, self.scope.repository, self.digest)
    }
}

/// Content that matches its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheEntry {
    digest: Digest,
    content: ContentKind,
    bytes: Bytes,
}

/// Content that does not match its digest.
#[derive(Debug, thiserror::Error)]
#[error("the content of {claimed} hashes to {found}")]
pub(crate) struct DigestMismatch {
    claimed: Digest,
    found: Digest,
}

impl CacheEntry {
    /// An entry, if the bytes match the digest.
    ///
    /// # Errors
    /// If the bytes do not match the digest.
    pub(crate) fn check(digest: Digest, content: ContentKind, bytes: Bytes) -> Result<Self, DigestMismatch> {
        let found = Digester::matching(&digest).digest(&bytes);
        Self::compare(digest, found, content, bytes)
    }

    /// The same for bytes whose digest `found` was computed while they arrived.
    ///
    /// # Errors
    /// If `found` is another digest.
    pub(crate) fn compare(
        digest: Digest,
        found: Digest,
        content: ContentKind,
        bytes: Bytes,
    ) -> Result<Self, DigestMismatch> {
        if found == digest {
            Ok(Self { digest, content, bytes })
        } else {
            Err(DigestMismatch { claimed: digest, found })
        }
    }

    /// The same, on a thread of its own if the bytes are many, so that hashing does not delay other tasks.
    ///
    /// # Errors
    /// If the bytes do not match the digest.
    pub(crate) async fn check_async(
        digest: Digest,
        content: ContentKind,
        bytes: Bytes,
    ) -> Result<Self, DigestMismatch> {
        if bytes.len() <= PREFETCH_MANIFEST_MAX {
            return Self::check(digest, content, bytes);
        }
        let checked = tokio::task::spawn_blocking(move || Self::check(digest, content, bytes)).await;
        checked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) const fn content(&self) -> &ContentKind {
        &self.content
    }

    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A blob of these bytes.
    pub(crate) fn blob(bytes: &[u8]) -> CacheEntry {
        entry(ContentKind::Blob, bytes)
    }

    /// A manifest of this media type.
    pub(crate) fn manifest(content_type: &str, bytes: &[u8]) -> CacheEntry {
        entry(ContentKind::Manifest { content_type: content_type.to_owned() }, bytes)
    }

    fn entry(content: ContentKind, bytes: &[u8]) -> CacheEntry {
        CacheEntry::check(Digester::sha256().digest(bytes), content, Bytes::copy_from_slice(bytes)).unwrap()
    }

    /// The key of public content.
    pub(crate) fn key(registry: &str, repository: &str, entry: &CacheEntry) -> CacheKey {
        let (registry, repository) = (registry.parse().unwrap(), repository.parse().unwrap());
        let scope = CacheScope { registry, repository, token: None };
        CacheKey { scope, digest: entry.digest().clone() }
    }

    /// The key of the same content with this token.
    pub(crate) fn with_token(key: &CacheKey, token: &str) -> CacheKey {
        let token = Some(TokenHash(Digester::sha256().digest(token.as_bytes())));
        CacheKey { scope: CacheScope { token, ..key.scope.clone() }, digest: key.digest.clone() }
    }

    #[test]
    fn content_must_match_its_digest() {
        let (good, other) = (Bytes::from_static(b"good"), Bytes::from_static(b"evil"));
        let digest = Digester::sha256().digest(&good);
        assert!(CacheEntry::check(digest.clone(), ContentKind::Blob, good).is_ok());
        let error = CacheEntry::check(digest.clone(), ContentKind::Blob, other).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the content of {digest} hashes to sha256:")), "{error}");
    }
}
