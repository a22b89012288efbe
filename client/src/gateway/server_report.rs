//! The state of each server in plain values, for `/health`.

use crate::tunnel::{Condition, ServerState, TunnelStatus};
use docxy_protocol::text::CleanText;
use docxy_transport::Leg;
use jiff::Timestamp;
use serde::Serialize;
use std::net::SocketAddr;

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

impl ServerReport {
    pub(super) fn of(state: &ServerState, in_use: bool) -> Self {
        let status = state.status();
        let (name, since) = match status {
            TunnelStatus::Up { since, .. } => match state.condition() {
                Condition::Silent => ("silent", Some(*since)),
                Condition::Greeting => ("connecting", None),
                Condition::Draining | Condition::Good => ("up", Some(*since)),
            },
            TunnelStatus::Down { since, .. } => ("down", Some(*since)),
            TunnelStatus::Refused { .. } => ("refused", None),
            TunnelStatus::Connecting { .. } => ("connecting", None),
            TunnelStatus::Spare => ("spare", None),
        };
        let transport = state.session().map(|session| session.transport());
        let path = transport.map(|transport| transport.path());
        let is_explained = transport.is_none() && !matches!(status, TunnelStatus::Spare);
        Self {
            server: state.name().to_owned(),
            state: name,
            since: since.and_then(|since| Timestamp::try_from(since).ok()),
            reason: is_explained.then(|| status.to_fault().detail),
            draining: transport.is_some() && state.condition() == Condition::Draining,
            trusted: state.is_trusted(),
            in_use,
            address: transport.map(|transport| transport.remote_address()),
            leg: transport.map(|transport| transport.leg()),
            rtt_ms: path.map(|path| u64::try_from(path.rtt.as_millis()).unwrap_or(u64::MAX)),
            bytes_received: path.map(|path| path.bytes_received),
            bytes_per_second: state.goodput(),
            bodies: state.bodies(),
        }
    }
}
