//! Reads the chunks of a response stream after its head.
//!
//! A stream that ends without an end chunk is truncated.

use super::READ_BYTES_MAX;
use super::error::ExchangeError;
use bytes::Bytes;
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame::FrameError;
use docxy_protocol::prefetch::PrefetchItem;
use docxy_transport::{ReadError, ReceiveStream};
use futures_util::FutureExt as _;
use std::collections::VecDeque;

/// A response stream after its head.
#[derive(Debug)]
pub(super) struct ChunkReader {
    stream: ReceiveStream,
    /// Unread bytes of the current chunk.
    left: u32,
    /// Whether the end chunk was read.
    ended: bool,
}

impl ChunkReader {
    pub(super) const fn new(stream: ReceiveStream) -> Self {
        Self { stream, left: 0, ended: false }
    }

    /// The next bytes of the body, `None` at and after its end.
    ///
    /// # Errors
    /// The fault that the server reported, or the loss of the connection.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        if self.ended {
            return Ok(None);
        }
        if self.left == 0 {
            let mut announced = [0; ChunkHeader::SIZE];
            self.stream.read_exact(&mut announced).await?;
            match ChunkHeader::from_bytes(announced) {
                ChunkHeader::Data(count) => self.left = count,
                ChunkHeader::End => {
                    self.ended = true;
                    return Ok(None);
                }
                ChunkHeader::Aborted => {
                    return Err(self.stream.read_frame::<Fault>().await?.into());
                }
            }
        }
        let length_max = READ_BYTES_MAX.min(self.left as usize);
        let chunk = self.stream.read_chunk(length_max).await?;
        let bytes = chunk.ok_or_else(|| ExchangeError::mismatch("the stream ended within the body"))?;
        // `read_chunk` returns at most the requested length.
        self.left -= bytes.len() as u32;
        Ok(Some(bytes))
    }

    /// The next prefetched item after the body, `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream is interrupted or holds something else.
    pub(super) async fn next_item(&mut self) -> Result<Option<PrefetchItem>, ExchangeError> {
        if self.next().await?.is_some() {
            return Err(ExchangeError::mismatch("the body is longer than announced"));
        }
        match self.stream.read_frame().await {
            Ok(item) => Ok(Some(item)),
            Err(ReadError::Frame(FrameError::Ended)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Up to `length_max` bytes of the content after an item.
    ///
    /// # Errors
    /// If the stream ends or is interrupted.
    pub(super) async fn read_item_bytes(&mut self, length_max: usize) -> Result<Bytes, ExchangeError> {
        let chunk = self.stream.read_chunk(READ_BYTES_MAX.min(length_max)).await?;
        chunk.ok_or_else(|| ExchangeError::mismatch("the stream ended within an item"))
    }

    /// The bytes of the body that arrived without a gap. The stream keeps them after the loss of the session,
    /// and returns the error after them.
    pub(super) fn into_buffered(mut self) -> VecDeque<Bytes> {
        std::iter::from_fn(|| self.next().now_or_never()?.ok().flatten()).collect()
    }
}
