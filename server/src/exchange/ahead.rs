//! What comes ahead, behind the end of an answer on the answer's stream: see
//! [`docxy_protocol::prefetch`].
//!
//! Never sends more than the client lets in, and never ends within an item.

use super::outgoing::{Outgoing, SendError};
use crate::store::Manifest;
use bytes::Bytes;
use docxy_protocol::frame;
use docxy_protocol::limits::{PREFETCH_BYTES_MAX, PREFETCH_ITEMS_MAX};
use docxy_protocol::name::Digest;
use docxy_protocol::prefetch::{ContentKind, PrefetchItem};

/// Behind all answers, and before all but the first segment of what is large: whoever gets this would
/// have to ask for it otherwise, and then it would be an answer.
const RANK: i32 = 1;

/// A stream whose answer is out.
#[derive(Debug)]
pub(crate) struct Ahead {
    stream: Outgoing,
    items: usize,
    bytes: usize,
}

impl Ahead {
    pub(super) fn behind(stream: Outgoing) -> Self {
        stream.set_rank(RANK);
        Self { stream, items: 0, bytes: 0 }
    }

    /// Sends a manifest. `false` if it, and so what would follow it, has no place any more.
    pub(crate) async fn manifest(&mut self, manifest: &Manifest) -> Result<bool, SendError> {
        let content_type = manifest.content_type().unwrap_or_default().to_owned();
        let content = ContentKind::Manifest { content_type };
        self.item(manifest.digest.clone(), content, manifest.bytes.clone()).await
    }

    /// The same of a small blob.
    pub(crate) async fn blob(&mut self, digest: Digest, bytes: Bytes) -> Result<bool, SendError> {
        self.item(digest, ContentKind::Blob, bytes).await
    }

    async fn item(&mut self, digest: Digest, content: ContentKind, bytes: Bytes) -> Result<bool, SendError> {
        let Ok(item) = PrefetchItem::new(digest, content, bytes.len()) else { return Ok(false) };
        if self.items == PREFETCH_ITEMS_MAX || self.bytes + bytes.len() > PREFETCH_BYTES_MAX {
            return Ok(false);
        }
        // Digest and media type are bounded, so the frame is.
        let frame = frame::encode(&item).map_err(|_| SendError)?;
        self.stream.write(frame.into()).await?;
        self.stream.write(bytes).await?;
        self.items += 1;
        self.bytes += item.length();
        Ok(true)
    }

    /// Says that no more comes. Returns how many items there were, and their bytes.
    pub(super) fn finish(self) -> Result<(usize, usize), SendError> {
        self.stream.finish()?;
        Ok((self.items, self.bytes))
    }
}
