//! Which blob, and who may see it.

use docxy_protocol::digester::Digester;
use docxy_protocol::name::{Digest, Registry, Repository};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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

/// The name of a blob's file: a hash, since a registry must not choose a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct BlobName {
    pub(super) is_private: bool,
    hash: [u8; 32],
}

/// The file is not one of a blob.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotABlob;

impl BlobKey {
    pub(super) fn name(&self) -> BlobName {
        let owner = match &self.owner {
            BlobOwner::Public => String::new(),
            BlobOwner::Private(registry, repository) => format!("{registry}/{repository}@"),
        };
        let digest = Digester::sha256().digest(format!("{owner}{}", self.digest).as_bytes());
        let hash = hash(digest.hex()).expect("a SHA-256 in hexadecimal digits is 32 bytes");
        BlobName { is_private: !owner.is_empty(), hash }
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_private { "private-" } else { "public-" })?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for BlobName {
    type Err = NotABlob;

    fn from_str(text: &str) -> Result<Self, NotABlob> {
        let (is_private, hex) = match text.split_once('-') {
            Some(("public", hex)) => (false, hex),
            Some(("private", hex)) => (true, hex),
            _ => return Err(NotABlob),
        };
        Ok(Self { is_private, hash: hash(hex).ok_or(NotABlob)? })
    }
}

fn hash(hex: &str) -> Option<[u8; 32]> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_store_s_own_names_are_those_of_blobs() {
        let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let private = BlobOwner::Private("ghcr.io".parse().unwrap(), "a/b".parse().unwrap());
        let names =
            [BlobOwner::Public, private].map(|owner| BlobKey { digest: digest.clone(), owner }.name());
        assert_ne!(names[0].hash, names[1].hash);
        for name in names {
            let text = name.to_string();
            assert_eq!(text.parse(), Ok(name.clone()));
            let hex = text.split_once('-').unwrap().1;
            for other in
                [hex, &text[1..], &text.to_uppercase(), &format!("other-{hex}"), &format!("{text}0"), "lock"]
            {
                assert_eq!(other.parse::<BlobName>(), Err(NotABlob), "{other}");
            }
        }
    }
}
