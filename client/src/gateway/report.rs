//! The states of the tunnel and of its servers in plain values, for `/health` and the status report.

use crate::tunnel::{Condition, ServerState, Session, TunnelStatus};
use docxy_protocol::text::CleanText;
use docxy_transport::{Leg, Path};
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
    /// The address of the server, or that of the proxy on the way to it.
    pub server: SocketAddr,
    /// The proxy, without user and password.
    pub proxy: Option<String>,
    /// The leg that carries it.
    pub leg: Leg,
    /// Why that leg carries it.
    pub leg_reason: Option<String>,
    /// How both ends send.
    pub congestion: String,
    /// The estimated round-trip time in milliseconds.
    pub rtt_ms: u64,
    /// Segments that were requested and are not read to their end.
    pub segments: usize,
}

/// One server, at one moment. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, Serialize)]
pub struct ServerReport {
    /// Host and ports, as in its link.
    pub server: String,
    /// `up`, `silent`, `connecting`, `down`, `refused`, or `spare`.
    pub state: &'static str,
    /// Since when it is up or down.
    pub since: Option<Timestamp>,
    /// Why it is not up.
    pub reason: Option<CleanText>,
    /// Whether it shuts down.
    pub draining: bool,
    /// Whether credentials may go there.
    pub trusted: bool,
    /// Whether small requests go there.
    pub in_use: bool,
    /// Its address, while it is connected.
    pub address: Option<SocketAddr>,
    /// The leg of the session.
    pub leg: Option<Leg>,
    /// The estimated round-trip time in milliseconds.
    pub rtt_ms: Option<u64>,
    /// Bytes received over the session.
    pub bytes_received: Option<u64>,
    /// What it has sent lately, in bytes per second.
    pub bytes_per_second: Option<u64>,
    /// The large bodies that come from it.
    pub bodies: usize,
}

impl TunnelState {
    pub(super) fn of(status: &TunnelStatus) -> Self {
        let (tunnel, since) = name_and_start(status);
        let (session, reason) = match status {
            TunnelStatus::Up { session, .. } => (Some(SessionState::of(session)), None),
            not_up => (None, Some(not_up.to_fault().detail)),
        };
        Self { tunnel, since, reason, session }
    }
}

impl SessionState {
    fn of(session: &Session) -> Self {
        let transport = session.transport();
        Self {
            server: transport.remote_address(),
            proxy: session.proxy().map(ToString::to_string),
            leg: transport.leg(),
            leg_reason: session.use_reason().map(|reason| reason.to_string()),
            congestion: session.congestion().to_string(),
            rtt_ms: rtt_ms(&transport.path()),
            segments: session.segment_budget().open_segments(),
        }
    }
}

impl ServerReport {
    pub(super) fn of(state: &ServerState, in_use: bool) -> Self {
        let ServerState { status, condition, .. } = state;
        let (name, since) = match (name_and_start(status), condition) {
            (("up", since), Condition::Silent) => ("silent", since),
            (("up", _), Condition::Greeting) => ("connecting", None),
            (of_status, _) => of_status,
        };
        let transport = state.session().map(|session| session.transport());
        let path = transport.map(|transport| transport.path());
        let is_explained = transport.is_none() && !matches!(status, TunnelStatus::Spare);
        Self {
            server: state.name().to_owned(),
            state: name,
            since,
            reason: is_explained.then(|| status.to_fault().detail),
            draining: transport.is_some() && *condition == Condition::Draining,
            trusted: state.is_trusted(),
            in_use,
            address: transport.map(|transport| transport.remote_address()),
            leg: transport.map(|transport| transport.leg()),
            rtt_ms: path.as_ref().map(rtt_ms),
            bytes_received: path.map(|path| path.bytes_received),
            bytes_per_second: state.goodput(),
            bodies: state.bodies(),
        }
    }
}

/// The name of a state, and since when it is up or down.
fn name_and_start(status: &TunnelStatus) -> (&'static str, Option<Timestamp>) {
    let (name, since) = match status {
        TunnelStatus::Up { since, .. } => ("up", Some(*since)),
        TunnelStatus::Down { since, .. } => ("down", Some(*since)),
        TunnelStatus::Refused { .. } => ("refused", None),
        TunnelStatus::Connecting { .. } => ("connecting", None),
        TunnelStatus::Spare => ("spare", None),
    };
    (name, since.and_then(|since| Timestamp::try_from(since).ok()))
}

fn rtt_ms(path: &Path) -> u64 {
    u64::try_from(path.rtt.as_millis()).unwrap_or(u64::MAX)
}
