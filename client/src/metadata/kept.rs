//! Content that is what its digest says, and where it was seen.

use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::limits::PREFETCH_MANIFEST_MAX;
use docxy_protocol::name::{Digest, Registry, Repository};
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::Request;
use std::fmt;

/// One repository of one registry, as seen by everybody or by the holder of one token. What was seen
/// there is nobody else's, and perhaps nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Home {
    pub(super) registry: Registry,
    pub(super) repository: Repository,
    holder: Option<Holder>,
}

/// Whoever shows this token.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Holder(Digest);

impl Home {
    /// Where a request asks, and for whom. A password is for the registry alone to judge.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let repository = request.operation.repository()?.clone();
        let holder = match &request.authorization {
            Authorization::None | Authorization::Public => None,
            Authorization::Bearer(token) => {
                Some(Holder(Digester::sha256().digest(token.expose().as_bytes())))
            }
            Authorization::Basic(_) => return None,
        };
        Some(Self { registry: request.registry.clone(), repository, holder })
    }

    /// Whether everybody may see what was seen there.
    pub(super) const fn is_public(&self) -> bool {
        self.holder.is_none()
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder")
    }
}

/// What content is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) home: Home,
    pub(super) digest: Digest,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.home.registry, self.home.repository, self.digest)
    }
}

/// Content that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    digest: Digest,
    content: ContentKind,
    bytes: Bytes,
}

/// Content that isn't what it was said to be.
#[derive(Debug, thiserror::Error)]
#[error("what came as {claimed} hashes to {found}")]
pub(super) struct Poisoned {
    claimed: Digest,
    found: Digest,
}

impl Kept {
    /// Content, if its bytes hash to its digest.
    ///
    /// # Errors
    /// Where the bytes don't hash to the digest.
    pub(super) fn check(digest: Digest, content: ContentKind, bytes: Bytes) -> Result<Self, Poisoned> {
        let found = Digester::matching(&digest).digest(&bytes);
        Self::compare(digest, found, content, bytes)
    }

    /// The same for bytes whose checksum was taken as they came: they hash to `found`.
    ///
    /// # Errors
    /// Where that is another digest.
    pub(super) fn compare(
        digest: Digest,
        found: Digest,
        content: ContentKind,
        bytes: Bytes,
    ) -> Result<Self, Poisoned> {
        if found == digest {
            Ok(Self { digest, content, bytes })
        } else {
            Err(Poisoned { claimed: digest, found })
        }
    }

    /// The same, on a thread of its own where the bytes are many: hashing them all takes as long as
    /// serving others would.
    ///
    /// # Errors
    /// Where the bytes don't hash to the digest.
    pub(super) async fn check_on_a_thread(
        digest: Digest,
        content: ContentKind,
        bytes: Bytes,
    ) -> Result<Self, Poisoned> {
        if bytes.len() <= PREFETCH_MANIFEST_MAX {
            return Self::check(digest, content, bytes);
        }
        let checked = tokio::task::spawn_blocking(move || Self::check(digest, content, bytes)).await;
        checked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    pub(super) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(super) const fn content(&self) -> &ContentKind {
        &self.content
    }

    pub(super) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A blob of these bytes.
    pub(in crate::metadata) fn blob(bytes: &[u8]) -> Kept {
        kept(ContentKind::Blob, bytes)
    }

    /// A manifest of this media type.
    pub(in crate::metadata) fn manifest(content_type: &str, bytes: &[u8]) -> Kept {
        kept(ContentKind::Manifest { content_type: content_type.to_owned() }, bytes)
    }

    fn kept(content: ContentKind, bytes: &[u8]) -> Kept {
        Kept::check(Digester::sha256().digest(bytes), content, Bytes::copy_from_slice(bytes)).unwrap()
    }

    /// Where content of a repository is found.
    pub(in crate::metadata) fn key(registry: &str, repository: &str, kept: &Kept) -> Key {
        let (registry, repository) = (registry.parse().unwrap(), repository.parse().unwrap());
        let home = Home { registry, repository, holder: None };
        Key { home, digest: kept.digest().clone() }
    }

    /// The same for whoever shows this token.
    pub(in crate::metadata) fn held(key: &Key, token: &str) -> Key {
        let holder = Some(Holder(Digester::sha256().digest(token.as_bytes())));
        Key { home: Home { holder, ..key.home.clone() }, digest: key.digest.clone() }
    }

    #[test]
    fn only_what_hashes_to_its_digest_is_kept() {
        let (good, other) = (Bytes::from_static(b"good"), Bytes::from_static(b"evil"));
        let digest = Digester::sha256().digest(&good);
        assert!(Kept::check(digest.clone(), ContentKind::Blob, good).is_ok());
        let error = Kept::check(digest.clone(), ContentKind::Blob, other).unwrap_err().to_string();
        assert!(error.starts_with(&format!("what came as {digest} hashes to sha256:")), "{error}");
    }
}
