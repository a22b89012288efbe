//! The sending half of a stream. Dropped before its end, it is reset: truncation is never silent.

use crate::error::SendError;
#[cfg(feature = "test-legs")]
use crate::memory;
use crate::session::{Session, Traffic};
use crate::tcp;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use quinn::VarInt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A large body that is sent on several streams. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// The number of the last batch of a TCP connection that had something of it.
    pub(crate) last_batch: Arc<AtomicU64>,
    /// Whether it is sent after all others.
    pub(crate) is_in_background: bool,
}

/// Turns of bodies in the background begin after this one of the others: 2^30 segments are half a petabyte.
const BACKGROUND_TURN: i32 = 1 << 30;

impl Body {
    /// One that is sent after all others.
    #[must_use]
    pub fn in_background() -> Self {
        Self { is_in_background: true, ..Self::default() }
    }
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct SendStream {
    /// `None` after the end.
    leg: Option<Leg>,
    /// The hop that cancels the stream by dropping it.
    hop: Hop,
    session: Session,
    /// What it carries, as far as the rate limit is concerned.
    traffic: Traffic,
}

#[derive(Debug, derive_more::From)]
pub(crate) enum Leg {
    Quic(quinn::SendStream),
    Tcp(tcp::Sender),
    #[cfg(feature = "test-legs")]
    Memory(memory::Sender),
}

impl SendStream {
    pub(crate) const fn new(leg: Leg, hop: Hop, session: Session) -> Self {
        Self { leg: Some(leg), hop, session, traffic: Traffic::Small }
    }

    /// Passes bytes to the leg. Waits while the stream's window or the session's send buffer is full, and as the rate
    /// limit says.
    ///
    /// # Errors
    /// If the peer has stopped the stream, or the session has ended.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), SendError> {
        let leg = self.leg.as_mut().ok_or(SendError::Stopped)?;
        self.session.wait_to_send(bytes.len(), self.traffic).await;
        on_leg!(leg, stream => stream.write_chunk(bytes).await?);
        Ok(())
    }

    /// Ends the stream after all bytes that were sent, and delivers them whatever happens here.
    ///
    /// # Errors
    /// If the peer has stopped the stream.
    pub fn finish(mut self) -> Result<(), SendError> {
        let leg = self.leg.take().ok_or(SendError::Stopped)?;
        on_leg!(leg, mut stream => stream.finish().map_err(|_| SendError::Stopped))
    }

    /// Ends the stream after all bytes that were sent. They can be withdrawn until they are delivered.
    ///
    /// # Errors
    /// If the peer has stopped the stream.
    pub fn finish_revocable(mut self) -> Result<FinishedStream, SendError> {
        let mut leg = self.leg.take().ok_or(SendError::Stopped)?;
        on_leg!(&mut leg, stream => stream.finish().map_err(|_| SendError::Stopped))?;
        Ok(FinishedStream(Self::new(leg, self.hop, self.session.clone())))
    }

    /// Resets the stream with the fault's code.
    pub fn reset(mut self, fault: &Fault) {
        self.reset_with(fault);
    }

    /// Whether the leg wants padding on it.
    pub(crate) fn is_padding(&self) -> bool {
        matches!(&self.leg, Some(Leg::Tcp(stream)) if stream.is_padding())
    }

    /// It waits for all else that the rate limit counts.
    pub(crate) fn set_bulk(&mut self) {
        self.traffic = Traffic::Bulk;
    }

    /// Bytes of a lower urgency value are sent before those of a higher one (as in RFC 9218, section 4.1), also when
    /// they are sent again. Small responses have urgency 0.
    pub fn set_urgency(&mut self, urgency: i32) {
        self.traffic = if urgency > 0 { Traffic::Bulk } else { Traffic::Small };
        if let Some(leg) = &self.leg {
            // An error means that the stream is already closed.
            on_leg!(leg, stream => drop(stream.set_priority(-urgency)));
        }
    }

    /// The stream carries part of this body. After small responses, the TCP leg sends bodies by turns, and of each the
    /// lowest turn first; QUIC sends the lowest turn of all first, since there a stream cannot be sent in small parts. Both
    /// send bodies in the background after all others.
    pub fn set_turn(&mut self, body: &Body, turn: i32) {
        let first = if body.is_in_background { BACKGROUND_TURN } else { 0 };
        self.set_urgency(turn.saturating_add(first));
        if let Some(Leg::Tcp(stream)) = &self.leg {
            stream.set_turn(body.clone(), turn);
        }
    }

    /// Resolves when the peer stops this stream, or the session ends. Never, if all was delivered.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.stopped_or_delivered();
        async move {
            if !stopped.await {
                std::future::pending().await
            }
        }
    }

    /// Resolves to `true` when the peer stops this stream, or the session ends; to `false` when all was delivered.
    pub(crate) fn stopped_or_delivered(&self) -> impl Future<Output = bool> + Send + 'static {
        let is_stopped = |leg: &Leg| -> Pin<Box<dyn Future<Output = bool> + Send>> {
            on_leg!(leg, stream => {
                let stopped = stream.stopped();
                Box::pin(async move { !matches!(stopped.await, Ok(None)) })
            })
        };
        let is_stopped = self.leg.as_ref().map(is_stopped);
        async move {
            match is_stopped {
                Some(is_stopped) => is_stopped.await,
                None => false,
            }
        }
    }

    fn reset_with(&mut self, fault: &Fault) {
        if let Some(leg) = self.leg.take() {
            let code = VarInt::from_u32(fault.reset_code());
            // An error means that the stream is already closed.
            on_leg!(leg, mut stream => drop(stream.reset(code)));
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.reset_with(&Fault::new(self.hop, FaultKind::Cancelled, ""));
    }
}

/// The sending half of a stream to which nothing is added. Some of it may not have left this side yet, and can
/// still be withdrawn.
#[derive(Debug)]
pub struct FinishedStream(SendStream);

impl FinishedStream {
    /// Whether the peer has received everything. Waits until that is known; `false` if the peer has stopped this
    /// stream, or the session has ended.
    pub fn delivered(&self) -> impl Future<Output = bool> + Send + 'static {
        let stopped = self.0.stopped_or_delivered();
        async move { !stopped.await }
    }
}
