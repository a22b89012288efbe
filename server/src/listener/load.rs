//! How much is under way, for the operator: `SIGUSR1` writes it to the log, and to the status file.
//!
//! Only counts; what may be under way is decided where it begins.

use super::paths::Paths;
use super::unauthenticated::Unauthenticated;
use crate::counters::Counters;
use crate::places::Places;
use crate::state::file;
use docxy_host::logging::LogHandle;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
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
    pub(super) paths: Arc<Paths>,
    pub(super) counters: Arc<Counters>,
    pub(super) drain: CancellationToken,
    pub(super) log: LogHandle,
    /// Where the same is written as JSON.
    pub(super) status_file: Option<PathBuf>,
}

impl Load {
    /// Writes it down at each signal from now on.
    pub(super) fn tell_on_signal(self, mut asked: Signal) {
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                self.tell();
                self.write_status_file();
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

    /// In one step, so that a reader sees whole JSON.
    fn write_status_file(&self) {
        let Some(path) = &self.status_file else { return };
        let status = self.status().to_string() + "\n";
        // Written here: a few hundred bytes, and only when the operator sends the signal.
        if let Err(error) = file::write(path, status.as_bytes()) {
            tracing::error!(%error, "cannot write the status file");
        }
    }

    /// What is in use now, and beside it what happened since the start.
    fn status(&self) -> serde_json::Value {
        let (recalls, path) = self.paths.recalls();
        json!({
            "draining": self.drain.is_cancelled(),
            "connections": self.connections.len(),
            "unauthenticated": self.unauthenticated.len(),
            "streams": self.streams.len(),
            "exchanges": self.places.held(),
            "waiting": self.places.waiting(),
            "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            "log_lines_dropped": self.log.lines_dropped(),
            "since_start": self.counters.snapshot(),
            "known_paths": {
                "recalls": recalls,
                "last_bits_per_second": path.map(|path| path.rate.bits_per_second()),
            },
        })
    }
}
