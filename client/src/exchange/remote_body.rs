//! The body of a response over one session, received as fast as it is read.
//!
//! Knows frames (chunks and segments) and no positions: its reader counts. Must never end before the server
//! said that it sent everything. Dropping the body stops the transfer at its source.

use super::chunk_reader::ChunkReader;
use super::error::ExchangeError;
use super::prefetch_stream::PrefetchStream;
use super::segments::{BufferedRun, Segments};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A body.
#[derive(Debug)]
pub(crate) struct RemoteBody {
    length: Option<u64>,
    /// The stream of the response. It has the chunks of the body, or says whether the segments were all.
    stream: Option<ChunkReader>,
    segments: Option<Box<Segments>>,
    /// Receives the stream after the body.
    prefetch: Option<oneshot::Sender<PrefetchStream>>,
    /// The permit of the request, until the body is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

impl RemoteBody {
    /// A body on the stream of the response, or in segments, which that stream concludes. Nothing follows without it.
    pub(super) fn new(
        length: Option<u64>,
        stream: Option<ChunkReader>,
        segments: Option<Segments>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { length, stream, segments: segments.map(Box::new), prefetch: None, permit }
    }

    /// Receives the prefetched content after this body, once the reader has all bytes of the body.
    pub(super) fn prefetch(&mut self) -> oneshot::Receiver<PrefetchStream> {
        let (sender, prefetch) = oneshot::channel();
        self.prefetch = Some(sender);
        if self.length == Some(0) {
            self.complete();
        }
        prefetch
    }

    /// A body that never arrives, for tests of response heads.
    #[cfg(test)]
    pub(crate) fn of_length(length: u64) -> Self {
        Self::new(Some(length), None, None, None)
    }

    /// The length that the server announced, in bytes.
    #[must_use]
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, `None` at the end of what the server sent.
    ///
    /// # Errors
    /// If the body is interrupted, or a segment has another length than announced.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let Some(segments) = &mut self.segments else { return stream.next().await };
        if let Some(bytes) = segments.next().await? {
            return Ok(Some(bytes));
        }
        // The server may report an error at the very end, or why a segment ended early.
        match stream.next().await? {
            _ if !segments.are_complete() => Err(ExchangeError::mismatch("a segment ended early")),
            None => Ok(None),
            Some(_) => Err(ExchangeError::mismatch("the body is longer than announced")),
        }
    }

    /// Ends the body early, after at least `lead` bytes more: the rest is not requested. Returns the bytes that are left
    /// then, or `None` if it does not end early. Its reader must not read on.
    pub(crate) fn shorten(&mut self, lead: u64) -> Option<u64> {
        self.segments.as_mut()?.shorten(lead)
    }

    /// The reader has all bytes. Releases the stream with the permit, if prefetched content follows on it.
    pub(crate) fn complete(&mut self) {
        if let Some(receiver) = self.prefetch.take()
            && let Some(reader) = self.stream.take()
        {
            // The stream is dropped if the receiver is gone.
            let _ = receiver.send(PrefetchStream::new(reader, self.permit.take()));
        }
    }

    /// The bytes that arrived and were not read, in order. Never waits.
    pub(crate) fn into_buffered(self) -> Vec<BufferedRun> {
        match (self.segments, self.stream) {
            (Some(segments), _) => segments.into_buffered(),
            (None, Some(stream)) => {
                vec![BufferedRun { gap: 0, chunks: stream.into_buffered(), permit: None }]
            }
            (None, None) => Vec::new(),
        }
    }
}
