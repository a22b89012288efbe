//! A stream that counts as open until it is dropped.

use super::fair_queue::{InService, Turn};
use crate::admission::budget::Slot;
use docxy_protocol::fault::Fault;
use docxy_transport::{FinishedStream, SendError, SendStream};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The server's half of a stream. Dropped before its end, it is reset.
#[derive(Debug, derive_more::Deref, derive_more::DerefMut)]
pub(crate) struct ResponseStream {
    #[deref]
    #[deref_mut]
    stream: SendStream,
    open: TaskTrackerToken,
    /// The slot of the send budget that the stream occupies, until it is delivered or reset.
    pub(crate) slot: Option<Slot>,
}

/// The same after its end. Dropped before all of it is delivered, it is reset.
#[derive(Debug)]
pub(super) struct FinishedResponseStream {
    pub(super) stream: FinishedStream,
    _open: TaskTrackerToken,
    _slot: Option<Slot>,
    _in_service: Option<InService>,
}

impl ResponseStream {
    pub(crate) fn new(stream: SendStream, open: TaskTrackerToken) -> Self {
        Self { stream, open, slot: None }
    }

    /// Ends the stream after all bytes were sent, and delivers them whatever happens to the exchange.
    pub(crate) fn finish(self) -> Result<(), SendError> {
        self.stream.finish()
    }

    /// Ends the stream after all bytes were sent. A segment has a turn.
    pub(super) fn finish_revocable(self, turn: Option<Turn>) -> Result<FinishedResponseStream, SendError> {
        let stream = self.stream.finish_revocable()?;
        let in_service = turn.map(Turn::written);
        Ok(FinishedResponseStream { stream, _open: self.open, _slot: self.slot, _in_service: in_service })
    }

    /// Resets the stream with the fault's code.
    pub(crate) fn reset(self, fault: &Fault) {
        self.stream.reset(fault);
    }
}
