//! `SIGUSR1`: writes the number of transfers, waits and tasks to the log, for users who cannot read
//! `/health`.

use crate::gateway::Gateway;
use docxy_host::logging::LogHandle;
use docxy_protocol::text::CleanText;
use tokio::signal::unix::Signal;

/// Writes a report at each signal. Never ends.
pub(in crate::command) async fn report_on_signal(mut signals: Signal, gateway: Gateway, log: LogHandle) {
    while signals.recv().await.is_some() {
        let state = gateway.tunnel_state();
        let transfers = gateway.transfers().snapshot();
        tracing::info!(
            tunnel = %state.tunnel,
            reason = state.reason.as_ref().map(CleanText::as_str),
            requests = transfers.len(),
            waiting = transfers.iter().filter(|transfer| transfer.waits_for.is_some()).count(),
            segments = state.session.map_or(0, |session| session.segments),
            tasks = gateway.tasks(),
            log_lines_dropped = log.lines_dropped(),
            "status"
        );
    }
}
