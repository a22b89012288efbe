//! One stored manifest, and its key.

use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::PREFETCH_MANIFEST_MAX;
use docxy_protocol::name::{Digest, Registry, Repository};
use http::header;

/// The key of a manifest. It includes the repository, because access to one repository doesn't permit access
/// to another one with the same content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(super) repository: RepositoryKey,
    pub(super) digest: Digest,
}

/// A repository of a registry, as a name of fixed length that any file system accepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RepositoryKey(pub(super) String);

/// A manifest, with the header fields of its response. Its bytes always match its digest.
#[derive(Debug)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    pub(crate) headers: Headers,
    pub(crate) bytes: Bytes,
}

/// A manifest whose bytes don't match its digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digest should be {expected} and is {found}")]
pub(crate) struct WrongDigest {
    expected: Digest,
    found: Digest,
}

impl Key {
    pub(crate) fn new(registry: &Registry, repository: &Repository, digest: Digest) -> Self {
        Self { repository: RepositoryKey::new(registry, repository), digest }
    }
}

impl RepositoryKey {
    pub(super) fn new(registry: &Registry, repository: &Repository) -> Self {
        Self(Digester::sha256().digest(format!("{registry}/{repository}").as_bytes()).hex().to_owned())
    }
}

impl StoredManifest {
    /// # Errors
    /// If the bytes have another digest.
    pub(crate) fn new(digest: Digest, headers: Headers, bytes: Bytes) -> Result<Self, WrongDigest> {
        let found = Digester::matching(&digest).digest(&bytes);
        if found == digest {
            Ok(Self { digest, headers, bytes })
        } else {
            Err(WrongDigest { expected: digest, found })
        }
    }

    /// The same, on a thread of its own for a large manifest, so that hashing doesn't block other tasks.
    ///
    /// # Errors
    /// If the bytes have another digest.
    pub(crate) async fn check(digest: Digest, headers: Headers, bytes: Bytes) -> Result<Self, WrongDigest> {
        if bytes.len() <= PREFETCH_MANIFEST_MAX {
            return Self::new(digest, headers, bytes);
        }
        let checked = tokio::task::spawn_blocking(move || Self::new(digest, headers, bytes)).await;
        checked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    /// Its media type, as the registry reported it.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get_str(&header::CONTENT_TYPE)
    }
}
