//! The sending half of a stream. Dropped before its end, it is reset: truncation is never silent.

use crate::error::SendError;
#[cfg(feature = "test-legs")]
use crate::memory;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use quinn::VarInt;
use std::future::Future;

/// The sending half of a stream.
#[derive(Debug)]
pub struct SendStream {
    /// `None` after the end.
    leg: Option<Leg>,
    /// The hop that cancels the stream by dropping it.
    hop: Hop,
}

#[derive(Debug)]
pub(crate) enum Leg {
    Quic(quinn::SendStream),
    #[cfg(feature = "test-legs")]
    Memory(memory::Sender),
}

impl From<quinn::SendStream> for Leg {
    fn from(stream: quinn::SendStream) -> Self {
        Self::Quic(stream)
    }
}

#[cfg(feature = "test-legs")]
impl From<memory::Sender> for Leg {
    fn from(sender: memory::Sender) -> Self {
        Self::Memory(sender)
    }
}

impl SendStream {
    pub(crate) const fn new(leg: Leg, hop: Hop) -> Self {
        Self { leg: Some(leg), hop }
    }

    /// Passes bytes to the leg. Waits while the stream's window or the session's send buffer is full.
    ///
    /// # Errors
    /// If the peer has stopped the stream, or the session has ended.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), SendError> {
        match &mut self.leg {
            Some(Leg::Quic(stream)) => Ok(stream.write_chunk(bytes).await?),
            #[cfg(feature = "test-legs")]
            Some(Leg::Memory(sender)) => sender.send(bytes).await,
            None => Err(SendError::Stopped),
        }
    }

    /// Ends the stream after all bytes that were sent.
    ///
    /// # Errors
    /// If the peer has stopped the stream.
    pub fn finish(mut self) -> Result<(), SendError> {
        match self.leg.take() {
            Some(Leg::Quic(mut stream)) => stream.finish().map_err(|_| SendError::Stopped),
            #[cfg(feature = "test-legs")]
            Some(Leg::Memory(sender)) => sender.finish(),
            None => Err(SendError::Stopped),
        }
    }

    /// Resets the stream with the fault's code.
    pub fn reset(mut self, fault: &Fault) {
        self.reset_with(fault);
    }

    /// Bytes of a lower rank are sent before bytes of a higher one, also when they are sent again.
    pub fn set_rank(&self, rank: i32) {
        match &self.leg {
            // An error means that the stream is already closed.
            Some(Leg::Quic(stream)) => drop(stream.set_priority(-rank)),
            #[cfg(feature = "test-legs")]
            Some(Leg::Memory(_)) => {}
            None => {}
        }
    }

    /// Resolves when the peer stops this stream, or the session ends. Never, if all was delivered.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let quic = match &self.leg {
            Some(Leg::Quic(stream)) => Some(stream.stopped()),
            _ => None,
        };
        #[cfg(feature = "test-legs")]
        let memory = match &self.leg {
            Some(Leg::Memory(sender)) => Some(sender.stopped()),
            _ => None,
        };
        async move {
            if let Some(stopped) = quic
                && !matches!(stopped.await, Ok(None))
            {
                return;
            }
            #[cfg(feature = "test-legs")]
            if let Some(stopped) = memory {
                return stopped.await;
            }
            std::future::pending().await
        }
    }

    fn reset_with(&mut self, fault: &Fault) {
        let code = fault.reset_code();
        match self.leg.take() {
            // An error means that the stream is already closed.
            Some(Leg::Quic(mut stream)) => drop(stream.reset(VarInt::from_u32(code))),
            #[cfg(feature = "test-legs")]
            Some(Leg::Memory(sender)) => sender.reset(code),
            None => {}
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.reset_with(&Fault::new(self.hop, FaultKind::Cancelled, ""));
    }
}
