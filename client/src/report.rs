//! `SIGUSR1`: writes to the log what is under way, for whoever cannot ask `/health`.

use crate::gateway::Gateway;
use crate::tunnel::{self, Status, Tunnel};
use docxy_host::logging::LogHandle;
use tokio::signal::unix::Signal;

/// What there is to tell.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) gateway: Gateway,
    pub(crate) tunnel: Tunnel,
    pub(crate) log: LogHandle,
}

impl Report {
    /// Tells it at each signal, for ever.
    pub(crate) async fn run(self, mut asked: Signal) {
        while asked.recv().await.is_some() {
            self.tell();
        }
    }

    fn tell(&self) {
        let status = self.tunnel.status();
        let (state, segments, reason) = match &status {
            Status::Up { line, .. } => ("up", line.bulk().segments(), None),
            Status::Down { .. } => ("down", 0, Some(tunnel::fault(&status).detail)),
            Status::Refused { .. } => ("refused", 0, Some(tunnel::fault(&status).detail)),
            Status::Connecting { .. } => ("connecting", 0, Some(tunnel::fault(&status).detail)),
        };
        tracing::info!(
            tunnel = state,
            reason = reason.map(tracing::field::display),
            requests = self.gateway.under_way(),
            waiting = self.gateway.waiting().all().len(),
            segments,
            tasks = tasks(),
            log_lines_dropped = self.log.lines_dropped(),
            "under way"
        );
    }
}

/// Tasks of the whole process: a number that keeps growing is a leak.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
