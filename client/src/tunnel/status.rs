//! The state of the tunnel.

use super::session::Session;
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::CleanText;
use std::time::SystemTime;

/// The state of the tunnel.
#[derive(Debug, Clone)]
pub enum TunnelStatus {
    /// It was never up since the start.
    Connecting {
        /// Why the last attempt failed, if there was one.
        reason: Option<CleanText>,
    },
    /// It is up; requests may be sent.
    Up {
        /// The connection.
        session: Session,
        /// When it came up.
        since: SystemTime,
    },
    /// It was up, and reconnects.
    Down {
        /// When it was lost.
        since: SystemTime,
        /// Why it was lost.
        reason: CleanText,
    },
    /// The server refuses this client. Only its operator can change that.
    Refused {
        /// The reason that the server gave.
        reason: CleanText,
    },
}

impl TunnelStatus {
    /// The fault of a request that cannot be sent in this state.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        let (kind, detail) = match self {
            Self::Connecting { reason: None } => (FaultKind::Down, "not connected yet".to_owned()),
            Self::Connecting { reason: Some(reason) } => {
                (FaultKind::Down, format!("could not connect yet: {reason}"))
            }
            Self::Up { .. } => (FaultKind::Down, CloseCode::Draining.reason().to_owned()),
            Self::Down { since, reason } => {
                let seconds = since.elapsed().unwrap_or_default().as_secs();
                (FaultKind::Down, format!("down for {seconds} s, reconnecting: {reason}"))
            }
            Self::Refused { reason } => {
                (FaultKind::Refused, format!("the server refuses this client: {reason}"))
            }
        };
        Fault::new(Hop::Tunnel, kind, detail)
    }
}
