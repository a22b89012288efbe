//! Reaches the server of a link once, before the link is stored: is the server there, and does it accept this client?
//!
//! Must never leave anything behind: nothing is cached, and the session is closed.

use crate::tunnel::config::{JoinedLink, TunnelConfig};
use crate::tunnel::server::{Condition, ServerState};
use crate::tunnel::status::Refuser;
use crate::tunnel::{Tunnel, TunnelStatus};
use docxy_protocol::text::CleanText;
use std::time::Duration;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// The server accepts this client.
    Accepted,
    /// Only a person can change it: another key answers, the server does not know the client, or another version.
    Refused(CleanText),
    /// The proxy on the way refuses, so the server was not asked.
    RefusedByProxy(CleanText),
    /// No answer yet.
    Unreachable,
}

/// Connects to the server of this link as `run` would with these settings, for `limit` at most. Calls `tell` with the
/// reason of each failure.
pub async fn contact(
    joined: JoinedLink,
    options: TunnelConfig,
    limit: Duration,
    tell: impl Fn(&CleanText),
) -> Contact {
    let tunnel = Tunnel::start(TunnelConfig { links: vec![joined], cache: None, ..options });
    let mut servers = tunnel.servers.clone();
    let decided = async {
        // The sender ends with the tunnel, which is closed below.
        let _ = servers.wait_for(|states| outcome(states).is_some()).await;
    };
    tokio::select! {
        _ = tokio::time::timeout(limit, decided) => {}
        never = tunnel.tell_failures(tell) => match never {},
    }
    let states = tunnel.servers();
    tunnel.close().await;
    outcome(&states).unwrap_or(Contact::Unreachable)
}

/// `None` while it is open.
fn outcome(states: &[ServerState]) -> Option<Contact> {
    let state = states.first()?;
    match &state.status {
        // One that drains has accepted it too.
        TunnelStatus::Up { .. } if state.condition >= Condition::Draining => Some(Contact::Accepted),
        TunnelStatus::Refused { by: Refuser::Server, reason } => Some(Contact::Refused(reason.text.clone())),
        TunnelStatus::Refused { by: Refuser::Proxy, reason } => {
            Some(Contact::RefusedByProxy(reason.text.clone()))
        }
        _ => None,
    }
}
