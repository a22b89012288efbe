//! The prefetched content after a response, one item after the other.
//!
//! Limited in number and in bytes, whatever the server announces. Checks nothing else.

use super::chunk_reader::ChunkReader;
use super::error::ExchangeError;
use bytes::{Bytes, BytesMut};
use docxy_protocol::limits::{PREFETCH_BYTES_MAX, PREFETCH_ITEMS_MAX};
use docxy_protocol::prefetch::PrefetchItem;
use std::fmt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The items after one response. Dropping it stops them at the server.
pub(crate) struct PrefetchStream {
    stage: Stage,
    items: usize,
    bytes: usize,
}

/// How far the response is read.
enum Stage {
    /// The body is being read. Its reader sends the stream afterwards.
    Body(oneshot::Receiver<StreamTail>),
    Items(StreamTail),
}

/// A response stream after its body, with the permit of its request.
pub(super) struct StreamTail {
    pub(super) reader: ChunkReader,
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl PrefetchStream {
    /// The items after a response without a body.
    pub(super) fn after_head(tail: StreamTail) -> Self {
        Self { stage: Stage::Items(tail), items: 0, bytes: 0 }
    }

    /// The items after a body, whose reader sends the stream when the body is complete.
    pub(super) fn after_body() -> (oneshot::Sender<StreamTail>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self { stage: Stage::Body(receiver), items: 0, bytes: 0 })
    }

    /// Waits until the body is read. False if that never happens.
    pub(crate) async fn wait_for_body(&mut self) -> bool {
        if let Stage::Body(receiver) = &mut self.stage {
            let Ok(tail) = receiver.await else { return false };
            self.stage = Stage::Items(tail);
        }
        true
    }

    /// The next item, `None` after the last.
    ///
    /// # Errors
    /// If the stream is interrupted, or holds more than the limits allow.
    pub(crate) async fn next(&mut self) -> Result<Option<(PrefetchItem, Bytes)>, ExchangeError> {
        if !self.wait_for_body().await {
            return Ok(None);
        }
        let Stage::Items(tail) = &mut self.stage else { return Ok(None) };
        let Some(item) = tail.reader.next_item().await? else { return Ok(None) };
        self.items += 1;
        self.bytes += item.length();
        if self.items > PREFETCH_ITEMS_MAX || self.bytes > PREFETCH_BYTES_MAX {
            return Err(ExchangeError::mismatch("more prefetched content than the limits allow"));
        }
        let mut content = BytesMut::new();
        while content.len() < item.length() {
            content.extend_from_slice(&tail.reader.read_item_bytes(item.length() - content.len()).await?);
        }
        Ok(Some((item, content.freeze())))
    }
}

impl fmt::Debug for PrefetchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefetchStream")
            .field("items", &self.items)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
