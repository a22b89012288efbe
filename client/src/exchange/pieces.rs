//! The near end of an answering stream: what follows the head, in pieces, to its last word.
//!
//! A stream that just ends was never whole.

use super::broken::Broken;
use bytes::Bytes;
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame::{self, FrameError};
use docxy_protocol::prefetch::PrefetchItem;
use futures_util::FutureExt as _;
use quinn::{ReadExactError, RecvStream};
use std::collections::VecDeque;

/// Most bytes read at once.
const CHUNK: usize = 64 * 1024;

/// An answering stream behind its head.
#[derive(Debug)]
pub(super) struct Pieces {
    stream: RecvStream,
    /// Bytes left of the piece that is being read.
    left: u32,
    /// Whether all of the body has come.
    ended: bool,
}

impl Pieces {
    pub(super) const fn new(stream: RecvStream) -> Self {
        Self { stream, left: 0, ended: false }
    }

    /// The next bytes of the body; `None` at the end of a whole one, and ever after.
    ///
    /// # Errors
    /// What the body broke off with, or that the connection did.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.ended {
            return Ok(None);
        }
        if self.left == 0 {
            let mut announced = [0; ChunkHeader::SIZE];
            self.stream.read_exact(&mut announced).await.map_err(unannounced)?;
            match ChunkHeader::from_bytes(announced) {
                ChunkHeader::Data(count) => self.left = count,
                ChunkHeader::End => {
                    self.ended = true;
                    return Ok(None);
                }
                ChunkHeader::Aborted => return Err(self.why().await),
            }
        }
        let most = CHUNK.min(self.left as usize);
        let chunk = self.stream.read_chunk(most, true).await?;
        let bytes = chunk.ok_or_else(|| Broken::wrong("the stream ended within the body"))?.bytes;
        // No longer than asked for.
        self.left -= bytes.len() as u32;
        Ok(Some(bytes))
    }

    /// The item that comes next behind the body, `None` at the end of the stream.
    ///
    /// # Errors
    /// Where the stream breaks, or there is something else.
    pub(super) async fn item(&mut self) -> Result<Option<PrefetchItem>, Broken> {
        if self.next().await?.is_some() {
            return Err(Broken::wrong("the body is longer than announced"));
        }
        match frame::read(&mut self.stream).await {
            Ok(item) => Ok(Some(item)),
            Err(FrameError::Ended) => Ok(None),
            Err(FrameError::Broken(error)) => Err(Broken::lost(error)),
            Err(error) => Err(Broken::wrong(&error.to_string())),
        }
    }

    /// Some of the bytes behind an item, at most so many.
    ///
    /// # Errors
    /// Where the stream ends or breaks.
    pub(super) async fn raw(&mut self, most: usize) -> Result<Bytes, Broken> {
        let chunk = self.stream.read_chunk(CHUNK.min(most), true).await?;
        Ok(chunk.ok_or_else(|| Broken::wrong("the stream ended within an item"))?.bytes)
    }

    /// What has arrived of the body without a gap. quinn keeps that for its reader when a connection
    /// is lost, and only says so behind it.
    pub(super) fn arrived(mut self) -> VecDeque<Bytes> {
        let mut chunks = VecDeque::new();
        while let Some(Ok(Some(bytes))) = self.next().now_or_never() {
            chunks.push_back(bytes);
        }
        chunks
    }

    /// What the server says that the body broke off with.
    async fn why(&mut self) -> Broken {
        match frame::read(&mut self.stream).await {
            Ok(fault) => Broken::told(fault),
            Err(FrameError::Broken(error)) => Broken::lost(error),
            Err(error) => Broken::Failed(Fault::new(Hop::Server, FaultKind::MalformedResponse, error)),
        }
    }
}

fn unannounced(error: ReadExactError) -> Broken {
    match error {
        ReadExactError::FinishedEarly(_) => Broken::wrong("the stream ended without a word on its body"),
        ReadExactError::ReadError(error) => error.into(),
    }
}
