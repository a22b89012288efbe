//! `SIGUSR1`: writes the number of transfers, waits and tasks to the log, for users who cannot read
//! `/health`.

use crate::gateway::{Gateway, TunnelState};
use docxy_host::logging::LogHandle;
use tokio::signal::unix::Signal;

/// The sources of the report.
#[derive(Debug)]
pub(super) struct StatusReport {
    pub(super) gateway: Gateway,
    pub(super) log: LogHandle,
}

impl StatusReport {
    /// Writes a report at each signal. Never ends.
    pub(super) async fn run(self, mut signals: Signal) {
        while signals.recv().await.is_some() {
            self.write();
        }
    }

    fn write(&self) {
        let state = self.gateway.tunnel_state();
        let (segments, reason) = match &state {
            TunnelState::Up { segments, .. } => (*segments, None),
            TunnelState::NotUp { reason, .. } => (0, Some(reason.as_str())),
        };
        let transfers = self.gateway.transfers().snapshot();
        tracing::info!(
            tunnel = state.name(),
            reason,
            requests = transfers.len(),
            waiting = transfers.iter().filter(|transfer| transfer.wait.is_some()).count(),
            segments,
            tasks = self.gateway.tasks(),
            log_lines_dropped = self.log.lines_dropped(),
            "status"
        );
    }
}
