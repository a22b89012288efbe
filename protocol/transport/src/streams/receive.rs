//! The receiving half of a stream. Dropped before its end, it tells the peer to stop.

use crate::error::ReadError;
#[cfg(feature = "test-legs")]
use crate::memory;
use crate::tcp;
use bytes::Bytes;
use docxy_protocol::frame::{self, FrameError};
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Maximum number of bytes in one chunk of [`ReceiveStream::into_arrived`].
const CHUNK_MAX: usize = 64 * 1024;

/// The receiving half of a stream.
#[derive(Debug)]
pub struct ReceiveStream(Leg);

#[derive(Debug)]
enum Leg {
    Quic(quinn::RecvStream),
    Tcp(tcp::Receiver),
    #[cfg(feature = "test-legs")]
    Memory(memory::Receiver),
}

impl From<quinn::RecvStream> for ReceiveStream {
    fn from(stream: quinn::RecvStream) -> Self {
        Self(Leg::Quic(stream))
    }
}

impl From<tcp::Receiver> for ReceiveStream {
    fn from(receiver: tcp::Receiver) -> Self {
        Self(Leg::Tcp(receiver))
    }
}

#[cfg(feature = "test-legs")]
impl From<memory::Receiver> for ReceiveStream {
    fn from(receiver: memory::Receiver) -> Self {
        Self(Leg::Memory(receiver))
    }
}

impl ReceiveStream {
    /// Reads into the buffer, as much as has arrived and fits. `None` at the end of the stream.
    ///
    /// # Errors
    /// If the peer has reset the stream, or the session has ended.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
        on_leg!(&mut self.0, stream => Ok(stream.read(buffer).await?))
    }

    /// The next bytes, at most `length_max`, without a copy. `None` at the end of the stream.
    ///
    /// # Errors
    /// If the peer has reset the stream, or the session has ended.
    pub async fn read_chunk(&mut self, length_max: usize) -> Result<Option<Bytes>, ReadError> {
        match &mut self.0 {
            Leg::Quic(stream) => Ok(stream.read_chunk(length_max, true).await?.map(|chunk| chunk.bytes)),
            Leg::Tcp(receiver) => receiver.read_chunk(length_max).await,
            #[cfg(feature = "test-legs")]
            Leg::Memory(receiver) => receiver.read_chunk(length_max).await,
        }
    }

    /// Fills the buffer. Not cancel safe: a dropped future loses the bytes that it has read.
    ///
    /// # Errors
    /// [`ReadError::Ended`] if the stream ends first; if the peer has reset it, or the session has ended.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = AsyncReadExt::read_exact(self, buffer).await;
        read.map(drop).map_err(|error| cause(error, || ReadError::Ended))
    }

    /// Reads exactly one frame. Not cancel safe.
    ///
    /// # Errors
    /// If the bytes are not such a frame, the peer has reset the stream, or the session has ended.
    pub async fn read_frame<T: DeserializeOwned>(&mut self) -> Result<T, ReadError> {
        frame::read(self).await.map_err(frame_error)
    }

    /// Reads one frame that begins with such a value, whatever follows in it. Not cancel safe.
    ///
    /// # Errors
    /// If the frame does not begin so, the peer has reset the stream, or the session has ended.
    pub async fn read_frame_beginning<T: DeserializeOwned>(&mut self) -> Result<T, ReadError> {
        frame::read_beginning(self).await.map_err(frame_error)
    }

    /// What had arrived without a gap when the stream was lost, and was not read. Never waits.
    #[must_use]
    pub fn into_arrived(mut self) -> VecDeque<Bytes> {
        // A leg keeps these bytes after its end, and returns the error after them.
        let next = || self.read_chunk(CHUNK_MAX).now_or_never()?.ok().flatten();
        std::iter::from_fn(next).collect()
    }
}

fn frame_error(error: FrameError) -> ReadError {
    match error {
        FrameError::Broken(error) => cause(error, || ReadError::Ended),
        error => ReadError::Frame(error),
    }
}

/// The error below an error of `AsyncRead`.
fn cause(error: std::io::Error, otherwise: impl FnOnce() -> ReadError) -> ReadError {
    error.downcast::<ReadError>().unwrap_or_else(|_| otherwise())
}

impl AsyncRead for ReceiveStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = on_leg!(&mut self.0, stream => stream.poll_read_buf(cx, buffer).map_err(ReadError::from));
        read.map_err(std::io::Error::other)
    }
}
