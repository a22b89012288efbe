//! The state of each server in plain values, for `/health`.

use crate::tunnel::{Condition, ServerState, TunnelStatus};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// One server, at one moment.
#[derive(Debug, Clone)]
pub struct ServerReport {
    /// Host and ports, as in its link.
    pub server: String,
    /// `up`, `silent`, `connecting`, `down`, `refused`, or `spare`.
    pub state: &'static str,
    /// Since when it is up or down.
    pub since: Option<SystemTime>,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Whether it shuts down.
    pub draining: bool,
    /// Whether credentials may go there.
    pub trusted: bool,
    /// Whether small requests go there.
    pub in_use: bool,
    /// What it has sent lately, in bytes per second.
    pub goodput: Option<u64>,
    /// The large bodies that come from it.
    pub bodies: usize,
    /// Its session, if there is one.
    pub session: Option<SessionReport>,
}

/// A session, at one moment.
#[derive(Debug, Clone)]
pub struct SessionReport {
    /// The address of the server.
    pub address: SocketAddr,
    /// The estimated round-trip time.
    pub rtt: Duration,
    /// Bytes received over it.
    pub received: u64,
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
        let session = state.session().map(|session| {
            let (transport, path) = (session.transport(), session.transport().path());
            SessionReport {
                address: transport.remote_address(),
                rtt: path.rtt,
                received: path.bytes_received,
            }
        });
        let is_explained = session.is_none() && !matches!(status, TunnelStatus::Spare);
        Self {
            server: state.name().to_owned(),
            state: name,
            since,
            reason: is_explained.then(|| status.to_fault().detail.as_str().to_owned()),
            draining: session.is_some() && state.condition() == Condition::Draining,
            trusted: state.is_trusted(),
            in_use,
            goodput: state.goodput(),
            bodies: state.bodies(),
            session,
        }
    }
}
