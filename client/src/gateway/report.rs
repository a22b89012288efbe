//! The states of the tunnel and of its servers in plain values, for `/health` and the status report.

use crate::status::pulls::Moment;
use crate::tunnel::leg::UseReason;
use crate::tunnel::{Condition, LineCause, ServerId, ServerState, Session, TunnelStatus};
use docxy_protocol::text::{CleanText, clean};
use docxy_transport::{Leg, Path};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::SystemTime;

/// The state of the tunnel, or of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, derive_more::Display)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "lowercase")]
#[display(rename_all = "lowercase")]
pub enum LineState {
    /// Requests can be sent.
    Up,
    /// Nothing was heard for longer than a connection that works is silent.
    Suspected,
    /// It was not up since the start.
    Connecting,
    /// It was lost.
    Down,
    /// The server refuses this client.
    Refused,
    /// It is not needed now.
    Spare,
}

/// The state of the tunnel. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelState {
    /// Its state.
    pub tunnel: LineState,
    /// Host and ports of the server in use, or of the one that was used last.
    pub server_name: Option<String>,
    /// Since when it is up, suspected or down.
    pub since: Option<Timestamp>,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CleanText>,
    /// The same as a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<LineCause>,
    /// The session while it is up.
    #[serde(flatten)]
    pub session: Option<SessionState>,
}

/// The state of the session in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    /// The address of the server, or that of the proxy on the way to it.
    pub server: SocketAddr,
    /// The proxy, without user and password.
    pub proxy: Option<String>,
    /// The leg that carries it.
    pub leg: Leg,
    /// Why that leg carries it.
    pub leg_reason: Option<String>,
    /// The same as a value.
    pub leg_cause: Option<UseReason>,
    /// How both ends send.
    pub congestion: String,
    /// The estimated round-trip time in milliseconds.
    pub rtt_ms: u64,
    /// The part of what the server sent lately that was lost, from 0 to 1, if it says so.
    pub loss: Option<f64>,
    /// Segments that were requested and are not read to their end.
    pub segments: usize,
}

/// One server, at one moment. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Host and ports, as in its link.
    pub server: String,
    /// Its state.
    pub state: LineState,
    /// Since when it is up, suspected or down.
    pub since: Option<Timestamp>,
    /// Why it is not up.
    pub reason: Option<CleanText>,
    /// The same as a value.
    pub cause: Option<LineCause>,
    /// Whether it shuts down.
    pub draining: bool,
    /// Whether credentials may go there.
    pub trusted: bool,
    /// Whether small requests go there.
    pub in_use: bool,
    /// Whether the user prefers it.
    pub preferred: bool,
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
    /// The state of the server in use, or else of all of these.
    pub(super) fn of(
        in_use: Option<&ServerState>,
        status: &TunnelStatus,
        all: &[ServerState],
        now: Moment,
    ) -> Self {
        if let Some(state) = in_use {
            let Standing { state: tunnel, since, reason, cause } =
                suspicion(state, now).unwrap_or_else(|| Standing::of(&state.status, None));
            let (server_name, session) =
                (Some(state.name().to_owned()), state.session().map(SessionState::of));
            return Self { tunnel, server_name, since, reason, cause, session };
        }
        let lost = |state: &&ServerState| match &state.status {
            TunnelStatus::Down { since, .. } => *since,
            _ => SystemTime::UNIX_EPOCH,
        };
        // The first of those that are equal.
        let last = all.iter().rev().max_by_key(lost);
        let why = (status.to_fault().detail, status.cause());
        let Standing { state: tunnel, since, reason, cause } = Standing::of(status, Some(why));
        let server_name = last.map(|state| state.name().to_owned());
        Self { tunnel, server_name, since, reason, cause, session: None }
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
            leg_cause: session.use_reason(),
            congestion: session.congestion().to_string(),
            rtt_ms: rtt_ms(&transport.path()),
            loss: session.loss(),
            segments: session.segment_budget().open_segments(),
        }
    }
}

impl ServerReport {
    pub(super) fn of(state: &ServerState, in_use: bool, preferred: Option<ServerId>, now: Moment) -> Self {
        let Standing { state: name, since, reason, cause } = standing(state, now);
        let transport = state.session().map(|session| session.transport());
        let path = transport.map(|transport| transport.path());
        Self {
            server: state.name().to_owned(),
            state: name,
            since,
            reason,
            cause,
            draining: transport.is_some() && state.condition == Condition::Draining,
            trusted: state.is_trusted(),
            in_use,
            preferred: preferred.is_some_and(|id| state.has_id(id)),
            address: transport.map(|transport| transport.remote_address()),
            leg: transport.map(|transport| transport.leg()),
            rtt_ms: path.as_ref().map(rtt_ms),
            bytes_received: path.map(|path| path.bytes_received),
            bytes_per_second: state.goodput(),
            bodies: state.bodies(),
        }
    }
}

/// How one server, or the tunnel, stands.
struct Standing {
    state: LineState,
    since: Option<Timestamp>,
    reason: Option<CleanText>,
    cause: Option<LineCause>,
}

impl Standing {
    fn of(status: &TunnelStatus, why: Option<(CleanText, LineCause)>) -> Self {
        let (state, since) = match status {
            TunnelStatus::Up { since, .. } => (LineState::Up, Some(*since)),
            TunnelStatus::Down { since, .. } => (LineState::Down, Some(*since)),
            TunnelStatus::Refused { .. } => (LineState::Refused, None),
            TunnelStatus::Connecting { .. } => (LineState::Connecting, None),
            TunnelStatus::Spare => (LineState::Spare, None),
        };
        let since = since.and_then(|since| Timestamp::try_from(since).ok());
        let (reason, cause) = why.unzip();
        Self { state, since, reason, cause }
    }
}

/// How one server stands.
fn standing(state: &ServerState, now: Moment) -> Standing {
    if let Some(suspicion) = suspicion(state, now) {
        return suspicion;
    }
    match &state.status {
        TunnelStatus::Up { .. } if state.condition == Condition::Greeting => {
            Standing::of(&TunnelStatus::Connecting { reason: None }, None)
        }
        status @ (TunnelStatus::Up { .. } | TunnelStatus::Spare) => Standing::of(status, None),
        status => Standing::of(status, Some((status.to_fault().detail, status.cause()))),
    }
}

fn suspicion(state: &ServerState, now: Moment) -> Option<Standing> {
    let silence = state.silence(now.at)?;
    Some(Standing {
        state: LineState::Suspected,
        since: now.at.checked_sub(silence).and_then(|since| now.wall_of(since)),
        reason: Some(clean(format_args!("no response for {} s", silence.as_secs()))),
        cause: Some(LineCause::Silent),
    })
}

fn rtt_ms(path: &Path) -> u64 {
    u64::try_from(path.rtt.as_millis()).unwrap_or(u64::MAX)
}
