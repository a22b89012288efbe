//! What comes ahead: the parts of an image that an engine is about to ask for, behind the answer
//! that made it clear.
//!
//! ```text
//!  client                                                     server
//!    │ StreamHeader::Request with a PrefetchHint, FIN ─────────────────────▶ │ HEAD or GET manifests/<tag>
//!    │ ◀──────────────────────────────── Reply … Piece::End     │ the answer, which never waits
//!    │ ◀─────────────────── PrefetchItem, and its bytes  (the index)    │ unless it was the answer's body
//!    │ ◀─────────────────── PrefetchItem, and its bytes  (the manifest) │ of the platform wished for
//!    │ ◀─────────────────── PrefetchItem, and its bytes  (the config)   │
//!    │ ◀──────────────────────────────────────────────── FIN    │
//! ```
//!
//! An item is worth nothing until it has been checked against its digest, and one that isn't what it
//! claims to be is the last that is read. What a user's token opens comes ahead behind a request that
//! shows that token, and is for whoever shows it.

use crate::limits::{MANIFEST_MAX, PREFETCH_BLOB_MAX};
use crate::name::Digest;
use crate::platform::{self, Platform};
use serde::{Deserialize, Serialize};

/// What may follow the answer to a request for a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchHint {
    /// Which image of an index.
    #[serde(with = "platform::text")]
    pub platform: Platform,
    /// Whether blobs of [`PREFETCH_BLOB_MAX`] may follow their manifest.
    pub small_blobs: bool,
    /// What the client has seen the reference stand for before and has kept with all that belongs
    /// to it: where it still stands for that, nothing follows.
    pub known: Option<Digest>,
}

/// Announces so many bytes, which follow it on the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedItem")]
pub struct PrefetchItem {
    digest: Digest,
    kind: ContentKind,
    length: u32,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentKind {
    /// A manifest or an index.
    Manifest {
        /// What its registry calls it: visible ASCII and spaces, 255 bytes at most.
        content_type: String,
    },
    /// A small blob.
    Blob,
}

/// Why something cannot come ahead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefetchItemError {
    /// More bytes than such an item may have.
    #[error("an item of {0} bytes, which is too long")]
    TooLong(usize),
    /// A media type that fits into no header.
    #[error("an item whose media type is none")]
    ContentType,
}

impl PrefetchItem {
    /// An item of `length` bytes.
    ///
    /// # Errors
    /// Where it is longer than [`MANIFEST_MAX`] or [`PREFETCH_BLOB_MAX`], or of no media type.
    pub fn new(digest: Digest, kind: ContentKind, length: usize) -> Result<Self, PrefetchItemError> {
        let most = match &kind {
            ContentKind::Manifest { content_type } => {
                let visible = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                if !visible || !(1..=255).contains(&content_type.len()) {
                    return Err(PrefetchItemError::ContentType);
                }
                MANIFEST_MAX
            }
            ContentKind::Blob => PREFETCH_BLOB_MAX,
        };
        match u32::try_from(length) {
            Ok(counted) if length <= most => Ok(Self { digest, kind, length: counted }),
            _ => Err(PrefetchItemError::TooLong(length)),
        }
    }

    /// What its bytes have to hash to.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> &ContentKind {
        &self.kind
    }

    /// How many bytes follow.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length as usize
    }
}

/// An item as the wire has it, not checked yet.
#[derive(Deserialize)]
struct UncheckedItem {
    digest: Digest,
    kind: ContentKind,
    length: u32,
}

impl TryFrom<UncheckedItem> for PrefetchItem {
    type Error = PrefetchItemError;

    fn try_from(UncheckedItem { digest, kind, length }: UncheckedItem) -> Result<Self, PrefetchItemError> {
        Self::new(digest, kind, length as usize)
    }
}
