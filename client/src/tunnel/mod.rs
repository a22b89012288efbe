//! The one connection to a server, which is replaced when it is lost.
//!
//! Other modules receive a [`Session`], or a fault that says why there is none. Must never stop reconnecting:
//! only the user ends it.

mod address;
mod config;
mod deadline;
mod dial;
mod liveness;
mod range_habits;
mod segment_budget;
mod session;
mod status;
mod supervisor;

pub use config::{Congestion, LegChoice, LegChoiceError, ProxyChoice, Rates, TunnelConfig};
pub use deadline::Deadline;
pub(crate) use range_habits::RangeHabits;
pub use segment_budget::{BodyShare, SegmentBudget, SegmentPermit};
pub use session::Session;
pub use status::TunnelStatus;

use crate::counters::TunnelCounters;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a request waits for the first connection attempt.
const FIRST_ATTEMPT_WAIT: Duration = Duration::from_secs(2);

/// A handle on the tunnel.
#[derive(Debug, Clone)]
pub struct Tunnel {
    status: watch::Receiver<TunnelStatus>,
    config: watch::Sender<TunnelConfig>,
    counters: TunnelCounters,
    stop: CancellationToken,
}

impl Tunnel {
    /// Starts to connect in the background, to the first server that responds.
    #[must_use]
    pub fn start(config: TunnelConfig) -> Self {
        let (sender, status) = watch::channel(TunnelStatus::Connecting { reason: None });
        let stop = CancellationToken::new();
        let (config, receiver) = watch::channel(config);
        let counters = TunnelCounters::default();
        tokio::spawn(supervisor::supervise(receiver, sender, counters.clone(), stop.clone()));
        Self { status, config, counters, stop }
    }

    /// A tunnel whose sessions the test makes.
    #[cfg(test)]
    pub(crate) fn of_status(status: watch::Receiver<TunnelStatus>) -> Self {
        let config = TunnelConfig::default();
        let (config, _) = watch::channel(config);
        Self { status, config, counters: TunnelCounters::default(), stop: CancellationToken::new() }
    }

    /// Applies a new configuration. If it differs, the connection is closed and a new one is dialed, on which
    /// transfers continue. Returns whether it differs.
    pub(crate) fn set(&self, config: TunnelConfig) -> bool {
        self.config.send_if_modified(|current| {
            let differs = *current != config;
            *current = config;
            differs
        })
    }

    /// Counts since the start.
    pub(crate) const fn counters(&self) -> &TunnelCounters {
        &self.counters
    }

    /// The current state.
    #[must_use]
    pub fn status(&self) -> TunnelStatus {
        self.status.borrow().clone()
    }

    /// A connection other than `excluded`. Waits for it until `deadline`, but not if the tunnel was never up or
    /// the server refuses this client.
    ///
    /// # Errors
    /// A fault of the tunnel, with how long it is down, and why.
    pub async fn session(&self, excluded: Option<&Session>, deadline: Deadline) -> Result<Session, Fault> {
        let mut status = self.status.clone();
        // Just after the start the first attempt is still running, and is worth a short wait.
        let first_attempt =
            status.wait_for(|status| !matches!(status, TunnelStatus::Connecting { reason: None }));
        let _ = tokio::time::timeout(FIRST_ATTEMPT_WAIT, first_attempt).await;
        let usable = |status: &TunnelStatus| match status {
            TunnelStatus::Up { session, .. }
                if !excluded.is_some_and(|excluded| excluded.is_same(session)) =>
            {
                Some(Ok(session.clone()))
            }
            TunnelStatus::Up { .. } | TunnelStatus::Down { .. } => None,
            TunnelStatus::Connecting { .. } if deadline.includes_first_connect() => None,
            TunnelStatus::Connecting { .. } | TunnelStatus::Refused { .. } => Some(Err(status.to_fault())),
        };
        let waited = status.wait_for(|status| usable(status).is_some());
        match tokio::time::timeout_at(deadline.instant().into(), waited).await {
            Ok(Ok(status)) => usable(&status).unwrap_or_else(|| Err(status.to_fault())),
            // The supervisor has ended, so the client is shutting down.
            Ok(Err(_)) => Err(Fault::new(Hop::Tunnel, FaultKind::Down, "the client is shutting down")),
            Err(_) => Err(self.status.borrow().to_fault()),
        }
    }

    /// Closes the connection, and waits until the close frame is sent.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut status = self.status.clone();
        // Ends when the supervisor drops its sender, after it closed the endpoint.
        while status.changed().await.is_ok() {}
    }
}
