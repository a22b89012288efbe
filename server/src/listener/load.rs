//! How much is under way, for the operator: `SIGUSR1` writes it to the log.
//!
//! Only counts; what may be under way is decided where it begins.

use super::unauthenticated::Unauthenticated;
use crate::places::Places;
use docxy_host::logging::LogHandle;
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio_util::task::TaskTracker;

/// What is counted. All of it comes back to where it was when a rush is over; what doesn't is a leak.
pub(super) struct Load {
    /// Handshakes included.
    pub(super) connections: TaskTracker,
    /// Those of them whose client is not authenticated yet.
    pub(super) unauthenticated: Arc<Unauthenticated>,
    /// Streams that the server has not said its last word on, segments that wait to be filled
    /// included.
    pub(super) streams: TaskTracker,
    pub(super) places: Arc<Places>,
    pub(super) log: LogHandle,
}

impl Load {
    /// Writes it down at each signal from now on.
    pub(super) fn tell_on_signal(self, mut asked: Signal) {
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                self.tell();
            }
        });
    }

    fn tell(&self) {
        tracing::info!(
            connections = self.connections.len(),
            unauthenticated = self.unauthenticated.len(),
            streams = self.streams.len(),
            exchanges = self.places.held(),
            waiting = self.places.waiting(),
            tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            log_lines_dropped = self.log.lines_dropped(),
            "under way"
        );
    }
}
