//! What an exchange has written and its client has not received yet: a cancel must withdraw it.
//!
//! A stream may hold seconds of a slow line after its last write. Must never lose a stream that is not delivered:
//! dropping it resets it.

use super::fair_queue::Turn;
use super::response_stream::{FinishedResponseStream, ResponseStream};
use docxy_transport::SendError;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// The finished streams of one exchange, in the order in which they are sent. The client bounds their number: it
/// opens a segment's stream only when it has read others. Dropped, all of them are reset.
#[derive(Debug, Default)]
pub(crate) struct Undelivered {
    streams: Mutex<VecDeque<FinishedResponseStream>>,
    added: Notify,
}

impl Undelivered {
    /// Ends a stream after all bytes were sent, and keeps it until they are delivered. A segment has a turn.
    ///
    /// # Errors
    /// If the client has stopped the stream.
    pub(crate) fn finish(&self, stream: ResponseStream, turn: Option<Turn>) -> Result<(), SendError> {
        let finished = stream.finish_revocable(turn)?;
        self.streams.lock().push_back(finished);
        self.added.notify_one();
        Ok(())
    }

    /// Whether the client has received all of them.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.lock().is_empty()
    }

    /// Releases the streams as they are delivered, for as long as the exchange runs. Returns when the client has
    /// cancelled it.
    pub(crate) async fn watch(&self) {
        while self.delivered().await {
            // A notification is stored, so one before this line is not missed.
            self.added.notified().await;
        }
    }

    /// Waits until all streams are delivered; `false` if the client does not want the rest.
    pub(crate) async fn delivered(&self) -> bool {
        loop {
            let Some(delivered) = self.streams.lock().front().map(|first| first.stream.delivered()) else {
                return true;
            };
            // A client that cancels stops all streams, so the first one tells.
            if !delivered.await {
                return false;
            }
            self.streams.lock().pop_front();
        }
    }
}
