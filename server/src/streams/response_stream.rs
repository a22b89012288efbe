//! A stream that counts as open until it is dropped.

use super::send_budget::Slot;
use docxy_protocol::fault::Fault;
use docxy_transport::{FinishedStream, SendError, SendStream};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The server's half of a stream. Dropped before its end, it is reset.
#[derive(Debug)]
pub(crate) struct ResponseStream {
    stream: SendStream,
    open: TaskTrackerToken,
    slot: Option<Slot>,
}

/// The same after its end. Dropped before all of it is delivered, it is reset.
#[derive(Debug)]
pub(super) struct FinishedResponseStream {
    stream: FinishedStream,
    _open: TaskTrackerToken,
    _slot: Option<Slot>,
}

impl ResponseStream {
    pub(crate) fn new(stream: SendStream, open: TaskTrackerToken) -> Self {
        Self { stream, open, slot: None }
    }

    /// Occupies a slot of the budget until the stream is delivered or reset.
    pub(crate) fn occupy(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// Whether it occupies a slot.
    pub(crate) const fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Releases its slot.
    pub(crate) fn release(&mut self) {
        self.slot = None;
    }

    /// Ends the stream after all bytes were sent, and delivers them whatever happens to the exchange.
    pub(crate) fn finish(self) -> Result<(), SendError> {
        self.stream.finish()
    }

    /// Ends the stream after all bytes were sent.
    pub(super) fn finish_revocable(self) -> Result<FinishedResponseStream, SendError> {
        let stream = self.stream.finish_revocable()?;
        Ok(FinishedResponseStream { stream, _open: self.open, _slot: self.slot })
    }

    /// Resets the stream with the fault's code.
    pub(crate) fn reset(self, fault: &Fault) {
        self.stream.reset(fault);
    }
}

impl FinishedResponseStream {
    /// Whether the client has received everything; see [`FinishedStream::delivered`].
    pub(super) fn delivered(&self) -> impl Future<Output = bool> + Send + 'static {
        self.stream.delivered()
    }
}

impl Deref for ResponseStream {
    type Target = SendStream;

    fn deref(&self) -> &SendStream {
        &self.stream
    }
}

impl DerefMut for ResponseStream {
    fn deref_mut(&mut self) -> &mut SendStream {
        &mut self.stream
    }
}
