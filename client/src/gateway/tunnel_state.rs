//! The state of the tunnel in plain values, for `/health` and the status report.

use crate::tunnel::{Session, TunnelStatus};
use docxy_protocol::text::CleanText;
use docxy_transport::Leg;
use jiff::Timestamp;
use serde::Serialize;
use std::net::SocketAddr;

/// The state of the tunnel. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, Serialize)]
pub struct TunnelState {
    /// `up`, `down`, `refused` or `connecting`.
    pub tunnel: &'static str,
    /// Since when it is up or down.
    pub since: Option<Timestamp>,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CleanText>,
    /// The session while it is up.
    #[serde(flatten)]
    pub session: Option<SessionState>,
}

/// The state of the session in use.
#[derive(Debug, Clone, Serialize)]
pub struct SessionState {
    /// The address of the server.
    pub server: SocketAddr,
    /// The leg that carries it.
    pub leg: Leg,
    /// How both ends send.
    pub congestion: String,
    /// The estimated round-trip time in milliseconds.
    pub rtt_ms: u64,
    /// Segments that were requested and are not read to their end.
    pub segments: usize,
}

impl TunnelState {
    pub(super) fn of(status: &TunnelStatus) -> Self {
        let (tunnel, since) = match status {
            TunnelStatus::Up { since, .. } => ("up", Some(*since)),
            TunnelStatus::Down { since, .. } => ("down", Some(*since)),
            TunnelStatus::Refused { .. } => ("refused", None),
            TunnelStatus::Spare | TunnelStatus::Connecting { .. } => ("connecting", None),
        };
        let (session, reason) = match status {
            TunnelStatus::Up { session, .. } => (Some(SessionState::of(session)), None),
            not_up => (None, Some(not_up.to_fault().detail)),
        };
        let since = since.and_then(|since| Timestamp::try_from(since).ok());
        Self { tunnel, since, reason, session }
    }
}

impl SessionState {
    fn of(session: &Session) -> Self {
        let transport = session.transport();
        Self {
            server: transport.remote_address(),
            leg: transport.leg(),
            congestion: session.congestion().to_string(),
            rtt_ms: u64::try_from(transport.path().rtt.as_millis()).unwrap_or(u64::MAX),
            segments: session.segment_budget().open_segments(),
        }
    }
}
