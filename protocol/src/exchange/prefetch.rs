//! Prefetch: parts of an image that an engine will request next, sent after a manifest's response.
//!
//! ```text
//!  client                                                             server
//!    │ StreamHeader::Request with a PrefetchHint, FIN ──────────────▶ │ HEAD or GET manifests/<tag>
//!    │ StreamHeader::Segment, FIN: as many as the hint says ────────▶ │
//!    │ ◀────────────────────────────── Reply, …, ChunkHeader::End     │ the response, which is never delayed
//!    │ ◀──────────────────── PrefetchItem and its bytes: the index    │ unless the response had it
//!    │ ◀─────────────────── PrefetchItem and its bytes: a manifest    │ of the hint's platform
//!    │ ◀─────────────────── PrefetchItem and its bytes: the config    │
//!    │ ◀────────────────────────────────────────────────────── FIN    │
//!    │ ◀──── on each segment stream: LayerSegment, its bytes, FIN     │ of the layers of that manifest
//! ```
//!
//! The segment streams are filled in the order of the layers. The server resets those for which it has nothing, and the
//! client those of layers that it has. Only public layers are prefetched.
//!
//! The client must not use an item before it has verified the digest, and must stop at the first item that
//! does not match. Private content is prefetched only after a request with the user's token, and must be
//! served only to requests with that token.

use crate::limits::{MANIFEST_BYTES_MAX, PREFETCH_BLOB_BYTES_MAX, SEGMENT_BYTES};
use crate::name::Digest;
use crate::platform::{self, Platform};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What may be prefetched after the response to a manifest request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchHint {
    /// The platform of the image to choose from an index.
    #[serde(with = "platform::text")]
    pub platform: Platform,
    /// Whether blobs of up to [`PREFETCH_BLOB_BYTES_MAX`] bytes may follow their manifest.
    pub small_blobs: bool,
    /// The digest that the reference had before, if the client has cached it and everything below it. If
    /// the reference still has this digest, nothing follows.
    pub known: Option<Digest>,
    /// Segment streams that the client opens for layers with the request, numbered from 0. More than
    /// [`INITIAL_SEGMENTS_MAX`](crate::limits::INITIAL_SEGMENTS_MAX) remain unused.
    pub layer_segments: u32,
}

/// The first frame on a segment stream that the client opened for layers. The bytes of the segment follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSegment {
    /// The layer, whose size is in the manifest.
    pub digest: Digest,
    /// The index of the segment in the layer, from 0.
    pub n: u32,
}

impl LayerSegment {
    /// The bytes of a layer of this size that the segment carries: [`SEGMENT_BYTES`], or what is left of it.
    #[must_use]
    pub fn range(&self, size: u64) -> Range<u64> {
        let start = u64::from(self.n) * u64::from(SEGMENT_BYTES);
        start.min(size)..(start + u64::from(SEGMENT_BYTES)).min(size)
    }
}

/// The header of one item; `length` bytes follow it on the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(Digest, ContentKind, u32)")]
pub struct PrefetchItem {
    digest: Digest,
    kind: ContentKind,
    length: u32,
}

/// What the content of an item is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentKind {
    /// A manifest or an index.
    Manifest {
        /// The media type from the registry: visible ASCII and spaces, 255 bytes at most.
        content_type: String,
    },
    /// A small blob.
    Blob,
}

/// Why content cannot be a prefetched item.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefetchItemError {
    /// More bytes than an item of this kind may have.
    #[error("an item of {0} bytes is too long")]
    TooLong(usize),
    /// A media type that is not valid in a header field.
    #[error("an item has an invalid media type")]
    ContentType,
}

impl PrefetchItem {
    /// An item of `length` bytes.
    ///
    /// # Errors
    /// If it is longer than [`MANIFEST_BYTES_MAX`] or [`PREFETCH_BLOB_BYTES_MAX`], or its media type is invalid.
    pub fn new(digest: Digest, kind: ContentKind, length: usize) -> Result<Self, PrefetchItemError> {
        let max = match &kind {
            ContentKind::Manifest { content_type } => {
                let visible = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                if !visible || !(1..=255).contains(&content_type.len()) {
                    return Err(PrefetchItemError::ContentType);
                }
                MANIFEST_BYTES_MAX
            }
            ContentKind::Blob => PREFETCH_BLOB_BYTES_MAX,
        };
        match u32::try_from(length) {
            Ok(counted) if length <= max => Ok(Self { digest, kind, length: counted }),
            _ => Err(PrefetchItemError::TooLong(length)),
        }
    }

    /// The digest that its bytes must have.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Manifest or blob.
    #[must_use]
    pub const fn kind(&self) -> &ContentKind {
        &self.kind
    }

    /// Bytes that follow.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length as usize
    }
}

/// An item as decoded, where a struct is a sequence of its fields.
impl TryFrom<(Digest, ContentKind, u32)> for PrefetchItem {
    type Error = PrefetchItemError;

    fn try_from((digest, kind, length): (Digest, ContentKind, u32)) -> Result<Self, PrefetchItemError> {
        Self::new(digest, kind, length as usize)
    }
}
