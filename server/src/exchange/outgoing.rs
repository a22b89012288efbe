//! The sending half of a stream, made safe: quinn ends a stream that is dropped as if all had
//! been sent, so this one is reset instead unless it was finished.

use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use quinn::{SendStream, VarInt};
use std::future::Future;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The client stopped reading, or the connection is gone; there is nobody left to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client takes no more")]
pub(crate) struct SendError;

/// A stream towards the client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: Option<SendStream>,
    /// Counts it among those that are open.
    _open: TaskTrackerToken,
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream, open: TaskTrackerToken) -> Self {
        Self { stream: Some(stream), _open: open }
    }

    /// Hands bytes to QUIC, waiting while the stream's window or the connection's buffer is full.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), SendError> {
        let stream = self.stream.as_mut().ok_or(SendError)?;
        stream.write_chunk(bytes).await.map_err(|_| SendError)
    }

    /// Says that everything has been sent.
    pub(crate) fn finish(mut self) -> Result<(), SendError> {
        let mut stream = self.stream.take().ok_or(SendError)?;
        stream.finish().map_err(|_| SendError)
    }

    /// Breaks the stream off and says why.
    pub(crate) fn reset(mut self, fault: &Fault) {
        self.break_off(fault);
    }

    fn break_off(&mut self, fault: &Fault) {
        if let Some(mut stream) = self.stream.take() {
            // An error means that it is closed already.
            let _ = stream.reset(VarInt::from_u32(fault.reset_code()));
        }
    }

    /// Bytes of a lower rank are sent before bytes of a higher one, also when they are lost and
    /// have to be sent again.
    pub(crate) fn set_rank(&self, rank: i32) {
        if let Some(stream) = &self.stream {
            let _ = stream.set_priority(-rank);
        }
    }

    /// Resolves when the client wants no more of this stream, or is gone.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.stream.as_ref().map(SendStream::stopped);
        async move {
            // A stream that was delivered in full wasn't stopped.
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

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.break_off(&Fault::new(Hop::Server, FaultKind::Cancelled, ""));
    }
}
