//! One manifest that is kept: what names it, and what it is.

use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::PREFETCH_MANIFEST_MAX;
use docxy_protocol::name::{Digest, Registry, Repository};
use http::header;

/// What names a manifest. The repository belongs to it: who may see one repository need not be
/// allowed to see another with the same content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(super) repository: RepositoryKey,
    pub(super) digest: Digest,
}

/// A repository of a registry, as a name of fixed length that any file system takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RepositoryKey(pub(super) String);

/// A manifest and what its registry said of it. Holds only bytes that hash to its digest.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) headers: Headers,
    pub(crate) bytes: Bytes,
}

/// A manifest that is another one, or none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what should be {expected} is {found}")]
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

impl Manifest {
    /// # Errors
    /// Where the bytes hash to something else.
    pub(crate) fn new(digest: Digest, headers: Headers, bytes: Bytes) -> Result<Self, WrongDigest> {
        let found = Digester::matching(&digest).digest(&bytes);
        if found == digest {
            Ok(Self { digest, headers, bytes })
        } else {
            Err(WrongDigest { expected: digest, found })
        }
    }

    /// The same, on a thread of its own where the bytes are many: hashing them all takes as long as
    /// serving others would.
    ///
    /// # Errors
    /// Where the bytes hash to something else.
    pub(crate) async fn check(digest: Digest, headers: Headers, bytes: Bytes) -> Result<Self, WrongDigest> {
        if bytes.len() <= PREFETCH_MANIFEST_MAX {
            return Self::new(digest, headers, bytes);
        }
        let checked = tokio::task::spawn_blocking(move || Self::new(digest, headers, bytes)).await;
        checked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    /// What its registry calls it.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get_str(&header::CONTENT_TYPE)
    }
}
