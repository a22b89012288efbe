//! The sending half of a stream. quinn finishes a dropped stream as if everything had been sent, so this
//! one is reset instead, unless it was finished: truncation is never silent.

use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use quinn::{SendStream, VarInt};
use std::future::Future;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The client has stopped reading this stream, or the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has stopped reading")]
pub(crate) struct SendError;

/// The server's half of a stream.
#[derive(Debug)]
pub(crate) struct ResponseStream {
    stream: Option<SendStream>,
    /// Counts it as an open stream.
    _open: TaskTrackerToken,
}

impl ResponseStream {
    pub(crate) fn new(stream: SendStream, open: TaskTrackerToken) -> Self {
        Self { stream: Some(stream), _open: open }
    }

    /// Passes bytes to QUIC. Waits while the stream's window or the connection's send buffer is full.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), SendError> {
        let stream = self.stream.as_mut().ok_or(SendError)?;
        stream.write_chunk(bytes).await.map_err(|_| SendError)
    }

    /// Ends the stream after all bytes were written.
    pub(crate) fn finish(mut self) -> Result<(), SendError> {
        let mut stream = self.stream.take().ok_or(SendError)?;
        stream.finish().map_err(|_| SendError)
    }

    /// Resets the stream with the fault's code.
    pub(crate) fn reset(mut self, fault: &Fault) {
        self.reset_with(fault);
    }

    fn reset_with(&mut self, fault: &Fault) {
        if let Some(mut stream) = self.stream.take() {
            // An error means that the stream is already closed.
            let _ = stream.reset(VarInt::from_u32(fault.reset_code()));
        }
    }

    /// Bytes of a lower rank are sent before bytes of a higher one, also when they are retransmitted.
    pub(crate) fn set_rank(&self, rank: i32) {
        if let Some(stream) = &self.stream {
            let _ = stream.set_priority(-rank);
        }
    }

    /// Resolves when the client stops this stream, or the connection is closed.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.stream.as_ref().map(SendStream::stopped);
        async move {
            // A stream that was delivered whole was not stopped.
            let delivered = match stopped {
                Some(stopped) => matches!(stopped.await, Ok(None)),
                None => true,
            };
            if delivered {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        self.reset_with(&Fault::new(Hop::Server, FaultKind::Cancelled, ""));
    }
}
