//! Which blob, and who may see it.

use docxy_protocol::digester::Digester;
use docxy_protocol::name::{Digest, Registry, Repository};
use serde::{Deserialize, Serialize};

/// Identifies a stored blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobKey {
    /// Its digest.
    pub digest: Digest,
    /// Who may see it.
    pub owner: BlobOwner,
}

/// Who may see a blob. One of one owner is never returned for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlobOwner {
    /// Everybody: it was proven public anywhere.
    Public,
    /// Those who may see this repository.
    Private(Registry, Repository),
}

impl BlobKey {
    /// The name of the file: hashes only, since a registry must not choose a path.
    pub(super) fn file_name(&self) -> String {
        let (kind, owner) = match &self.owner {
            BlobOwner::Public => ("public", String::new()),
            BlobOwner::Private(registry, repository) => ("private", format!("{registry}/{repository}@")),
        };
        let name = format!("{owner}{}", self.digest);
        format!("{kind}-{}", Digester::sha256().digest(name.as_bytes()).hex())
    }
}
