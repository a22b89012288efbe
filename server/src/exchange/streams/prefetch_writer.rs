//! Writes prefetched items on a response's stream, after the response's end: see
//! [`docxy_protocol::prefetch`].
//!
//! Must never send more than the client accepts, or finish the stream within an item.

use super::response_stream::ResponseStream;
use super::undelivered::Undelivered;
use crate::upstream::store::StoredManifest;
use bytes::Bytes;
use docxy_protocol::frame;
use docxy_protocol::limits::{PREFETCH_BYTES_MAX, PREFETCH_ITEMS_MAX};
use docxy_protocol::name::Digest;
use docxy_protocol::prefetch::{ContentKind, PrefetchItem};
use docxy_transport::SendError;

/// The urgency of prefetched items: after all responses, and before all segments but the first. Without
/// prefetch they would be requested, and then be responses.
pub(crate) const PREFETCH_URGENCY: i32 = 1;

/// A stream whose response has been written.
#[derive(Debug)]
pub(crate) struct PrefetchWriter {
    stream: ResponseStream,
    items: usize,
    bytes: usize,
}

impl PrefetchWriter {
    pub(crate) fn new(mut stream: ResponseStream) -> Self {
        stream.set_urgency(PREFETCH_URGENCY);
        Self { stream, items: 0, bytes: 0 }
    }

    /// Sends a manifest. Returns `false` if the limit is reached, and so nothing more can be sent.
    pub(crate) async fn write_manifest(&mut self, manifest: &StoredManifest) -> Result<bool, SendError> {
        let content_type = manifest.content_type().unwrap_or_default().to_owned();
        let content = ContentKind::Manifest { content_type };
        self.write_item(manifest.digest().clone(), content, manifest.bytes().clone()).await
    }

    /// Sends an item. Returns `false` if the limit is reached.
    pub(crate) async fn write_item(
        &mut self,
        digest: Digest,
        content: ContentKind,
        bytes: Bytes,
    ) -> Result<bool, SendError> {
        let Ok(item) = PrefetchItem::new(digest, content, bytes.len()) else { return Ok(false) };
        if self.items == PREFETCH_ITEMS_MAX || self.bytes + bytes.len() > PREFETCH_BYTES_MAX {
            return Ok(false);
        }
        // The digest and the media type are bounded, so the frame is too.
        let frame = frame::encode(&item)?;
        self.stream.send(frame.into()).await?;
        self.stream.send(bytes).await?;
        self.items += 1;
        self.bytes += item.length();
        Ok(true)
    }

    /// Finishes the stream. Returns the number of items, and their bytes.
    pub(crate) fn finish(self, undelivered: &Undelivered) -> Result<(usize, usize), SendError> {
        undelivered.finish(self.stream, None)?;
        Ok((self.items, self.bytes))
    }
}
