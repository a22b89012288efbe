//! The state of the tunnel in plain values, for `/health` and the status report.

use crate::tunnel::TunnelStatus;
use docxy_transport::Leg;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// The state of the tunnel.
#[derive(Debug, Clone)]
pub enum TunnelState {
    /// Requests can be sent.
    Up {
        /// Since when.
        since: SystemTime,
        /// The address of the server, or that of the proxy on the way to it.
        server: SocketAddr,
        /// The proxy, without a password.
        proxy: Option<String>,
        /// The leg that carries it.
        leg: Leg,
        /// How both ends send.
        congestion: String,
        /// The estimated round-trip time.
        rtt: Duration,
        /// Segments that were requested and are not read to their end.
        segments: usize,
    },
    /// Requests cannot be sent.
    NotUp {
        /// `down`, `refused` or `connecting`.
        state: &'static str,
        /// When the last connection was lost.
        since: Option<SystemTime>,
        /// Why.
        reason: String,
    },
}

impl TunnelState {
    pub(super) fn of(status: &TunnelStatus) -> Self {
        let (state, since) = match status {
            TunnelStatus::Up { session, since } => {
                let transport = session.transport();
                return Self::Up {
                    since: *since,
                    server: transport.remote_address(),
                    proxy: session.proxy().map(ToString::to_string),
                    leg: transport.leg(),
                    congestion: session.congestion().to_string(),
                    rtt: transport.path().rtt,
                    segments: session.segment_budget().open_segments(),
                };
            }
            TunnelStatus::Down { since, .. } => ("down", Some(*since)),
            TunnelStatus::Refused { .. } => ("refused", None),
            TunnelStatus::Connecting { .. } => ("connecting", None),
        };
        Self::NotUp { state, since, reason: status.to_fault().detail.as_str().to_owned() }
    }

    /// `up`, `down`, `refused` or `connecting`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Up { .. } => "up",
            Self::NotUp { state, .. } => state,
        }
    }
}
