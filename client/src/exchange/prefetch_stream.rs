//! The prefetched content after a response, one item after the other.
//!
//! Limited in number and in bytes, whatever the server announces. Checks nothing else.

use super::chunk_reader::ChunkReader;
use super::error::ExchangeError;
use bytes::{Bytes, BytesMut};
use docxy_protocol::limits::{PREFETCH_BYTES_MAX, PREFETCH_ITEMS_MAX};
use docxy_protocol::prefetch::PrefetchItem;
use tokio::sync::OwnedSemaphorePermit;

/// The items after the body of one response. Dropping it stops them at the server.
#[derive(Debug)]
pub(crate) struct PrefetchStream {
    reader: ChunkReader,
    /// The permit of the request.
    _permit: Option<OwnedSemaphorePermit>,
    items: usize,
    bytes: usize,
}

impl PrefetchStream {
    pub(super) const fn new(reader: ChunkReader, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { reader, _permit: permit, items: 0, bytes: 0 }
    }

    /// The next item, `None` after the last.
    ///
    /// # Errors
    /// If the stream is interrupted, or holds more than the limits allow.
    pub(crate) async fn next(&mut self) -> Result<Option<(PrefetchItem, Bytes)>, ExchangeError> {
        let Some(item) = self.reader.next_item().await? else { return Ok(None) };
        self.items += 1;
        self.bytes += item.length();
        if self.items > PREFETCH_ITEMS_MAX || self.bytes > PREFETCH_BYTES_MAX {
            return Err(ExchangeError::mismatch("more prefetched content than the limits allow"));
        }
        let mut content = BytesMut::new();
        while content.len() < item.length() {
            content.extend_from_slice(&self.reader.read_item_bytes(item.length() - content.len()).await?);
        }
        Ok(Some((item, content.freeze())))
    }
}
