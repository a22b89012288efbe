//! Counts what is in progress, for the operator: `SIGUSR1` writes the counts to the log, and to the
//! status file.
//!
//! Must never limit anything: limits are applied where work begins.

use super::path_cache::PathCache;
use super::unauthenticated::Unauthenticated;
use crate::admission::Admission;
use crate::counters::Counters;
use crate::exchange::streams::OpenStreams;
use docxy_host::files::private_file;
use docxy_host::logging::LogHandle;
use docxy_transport::tcp::kernel_congestion;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The counted objects. After a rush all counts return to their values before it, or there is a leak.
#[derive(Debug)]
pub(crate) struct StatusReport {
    /// All connections, handshakes included.
    pub(super) connections: TaskTracker,
    /// The connections whose client is not authenticated yet.
    pub(super) unauthenticated: Arc<Unauthenticated>,
    /// The streams that the server has not finished, waiting segment streams included.
    pub(super) streams: OpenStreams,
    pub(super) admission: Arc<Admission>,
    pub(super) path_cache: Arc<PathCache>,
    pub(super) counters: Arc<Counters>,
    pub(super) drain: CancellationToken,
    pub(super) log: LogHandle,
    /// Where the same counts are written as JSON.
    pub(super) status_file: Option<PathBuf>,
}

/// What is in progress at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) draining: bool,
    pub(crate) connections: usize,
    pub(crate) unauthenticated: usize,
    pub(crate) streams: usize,
    pub(crate) exchanges: usize,
    pub(crate) waiting: usize,
    pub(crate) tasks: usize,
    pub(crate) log_lines_dropped: u64,
}

impl StatusReport {
    /// What is in progress now.
    pub(crate) fn load(&self) -> Load {
        Load {
            draining: self.drain.is_cancelled(),
            connections: self.connections.len(),
            unauthenticated: self.unauthenticated.len(),
            streams: self.streams.len(),
            exchanges: self.admission.permits_held(),
            waiting: self.admission.waiting(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            log_lines_dropped: self.log.lines_dropped(),
        }
    }

    /// What happened since the start.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Writes the counts at each signal.
    pub(super) fn write_on_signal(self: Arc<Self>, mut signal: Signal) {
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                self.log_counts();
                self.write_status_file();
            }
        });
    }

    fn log_counts(&self) {
        let Load {
            connections, unauthenticated, streams, exchanges, waiting, tasks, log_lines_dropped, ..
        } = self.load();
        tracing::info!(
            connections,
            unauthenticated,
            streams,
            exchanges,
            waiting,
            tasks,
            log_lines_dropped,
            "status"
        );
    }

    /// Replaces the file in one step, so that a reader sees whole JSON.
    fn write_status_file(&self) {
        let Some(path) = &self.status_file else { return };
        let status = self.status().to_string() + "\n";
        // It blocks a runtime thread, but only for a few hundred bytes and only when the operator asks.
        if let Err(error) = private_file::write(path, status.as_bytes()) {
            tracing::error!(%error, "cannot write the status file");
        }
    }

    /// What is in use now, and what happened since the start.
    fn status(&self) -> serde_json::Value {
        let (hits, path) = self.path_cache.hits();
        let mut status = json!(self.load());
        status["tcp_congestion"] = json!(kernel_congestion());
        status["since_start"] = json!(self.counters.snapshot());
        status["known_paths"] = json!({
            "recalls": hits,
            "last_bits_per_second": path.map(|path| path.rate.bits_per_second()),
        });
        status
    }
}
