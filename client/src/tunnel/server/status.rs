//! The state of one server, and that of the tunnel, which is the best of them.

use crate::tunnel::reason::{LineCause, LineReason};
use crate::tunnel::session::Session;
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use std::time::SystemTime;

/// The state of one server, or of all.
#[derive(Debug, Clone)]
pub enum TunnelStatus {
    /// It is not needed now: enough others are connected.
    Spare,
    /// It was never up since the start.
    Connecting {
        /// Why the last attempt failed, if there was one.
        reason: Option<LineReason>,
    },
    /// It is up; requests may be sent.
    Up {
        /// The connection.
        session: Box<Session>,
        /// When it came up.
        since: SystemTime,
    },
    /// It was up, and reconnects.
    Down {
        /// When it was lost.
        since: SystemTime,
        /// Why it was lost.
        reason: LineReason,
    },
    /// It was never up since the start, or refuses this client, and only a person can change that.
    Refused {
        /// Who refuses.
        by: Refuser,
        /// Why, with the server's name.
        reason: LineReason,
    },
}

/// Who refuses a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuser {
    /// The server, or what answers at its address.
    Server,
    /// The proxy on the way, so that the server was not asked.
    Proxy,
}

impl TunnelStatus {
    /// The fault of a request that cannot be sent in this state.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        let (kind, detail) = match self {
            Self::Spare | Self::Connecting { reason: None } => {
                (FaultKind::Down, "not connected yet".to_owned())
            }
            Self::Connecting { reason: Some(reason) } => {
                (FaultKind::Down, format!("could not connect: {reason}"))
            }
            Self::Up { .. } => (FaultKind::Down, CloseCode::Draining.reason().to_owned()),
            Self::Down { since, reason } => {
                let seconds = since.elapsed().unwrap_or_default().as_secs();
                (FaultKind::Down, format!("down for {seconds} s, reconnecting: {reason}"))
            }
            Self::Refused { reason, .. } => (FaultKind::Refused, reason.to_string()),
        };
        Fault::new(Hop::Tunnel, kind, detail)
    }

    /// Why no request can be sent in this state.
    pub(crate) const fn cause(&self) -> LineCause {
        match self {
            Self::Spare | Self::Connecting { reason: None } => LineCause::NotConnected,
            Self::Up { .. } => LineCause::Draining,
            Self::Connecting { reason: Some(reason) }
            | Self::Down { reason, .. }
            | Self::Refused { reason, .. } => reason.cause,
        }
    }

    /// Whether a server was dialed and has no session.
    pub(in crate::tunnel) const fn fails(&self) -> bool {
        matches!(self, Self::Connecting { reason: Some(_) } | Self::Down { .. } | Self::Refused { .. })
    }

    /// The state of several servers: that of the most hopeful, with the reasons of all. The last loss is the one that users
    /// notice.
    pub(in crate::tunnel) fn of_all<'a>(servers: impl Iterator<Item = &'a Self> + Clone) -> Self {
        if let Some(up) = servers.clone().find(|status| matches!(status, Self::Up { .. })) {
            return up.clone();
        }
        let down = servers.clone().filter_map(|status| match status {
            Self::Down { since, reason } => Some((since, reason)),
            _ => None,
        });
        let last_loss = down.clone().max_by_key(|(since, _)| **since);
        let connecting = servers.clone().filter_map(|status| match status {
            Self::Connecting { reason } => Some(reason),
            _ => None,
        });
        let refused = servers.clone().filter_map(|status| match status {
            Self::Refused { reason, .. } => Some(reason),
            _ => None,
        });
        if let Some((since, last)) = last_loss {
            let others = down.map(|(_, reason)| reason).chain(connecting.flatten()).chain(refused);
            let reason = joined(std::iter::once(last).chain(others)).unwrap_or_else(|| last.clone());
            return Self::Down { since: *since, reason };
        }
        if connecting.clone().next().is_some() {
            return Self::Connecting { reason: joined(connecting.flatten().chain(refused)) };
        }
        let is_by_server = |status: &Self| matches!(status, Self::Refused { by: Refuser::Server, .. });
        let by = if servers.clone().any(is_by_server) { Refuser::Server } else { Refuser::Proxy };
        joined(refused).map_or(Self::Connecting { reason: None }, |reason| Self::Refused { by, reason })
    }
}

/// Several reasons as one, whose cause is that of the first; `None` if there are none.
fn joined<'a>(reasons: impl Iterator<Item = &'a LineReason>) -> Option<LineReason> {
    let mut different: Vec<&LineReason> = Vec::new();
    for reason in reasons {
        if different.iter().all(|known| known.text != reason.text) {
            different.push(reason);
        }
    }
    let texts: Vec<_> = different.iter().map(|reason| reason.text.as_str()).collect();
    different.first().map(|first| LineReason::new(first.cause, texts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn detail(servers: &[TunnelStatus]) -> String {
        TunnelStatus::of_all(servers.iter()).to_fault().detail.as_str().to_owned()
    }

    #[test]
    fn the_most_hopeful_server_is_shown_with_the_reasons_of_all() {
        let lost = |text: &str| LineReason::new(LineCause::Lost, text);
        let connecting = |reason: &str| TunnelStatus::Connecting { reason: Some(lost(reason)) };
        let refused = |text: &str| TunnelStatus::Refused {
            by: Refuser::Server,
            reason: LineReason::new(LineCause::Revoked, text),
        };
        let down = |seconds, reason: &str| TunnelStatus::Down {
            since: SystemTime::now() - Duration::from_secs(seconds),
            reason: lost(reason),
        };
        for (servers, text) in [
            (vec![], "not connected yet"),
            (vec![TunnelStatus::Spare, refused("a refuses")], "a refuses"),
            (vec![refused("a"), refused("b"), refused("a")], "a; b"),
            (vec![refused("a"), connecting("b"), connecting("c")], "could not connect: b; c; a"),
            (
                vec![refused("d"), connecting("a"), down(9, "b"), down(5, "c")],
                "down for 5 s, reconnecting: c; b; a; d",
            ),
        ] {
            assert_eq!(detail(&servers), text);
        }
        let causes = |servers: &[TunnelStatus]| TunnelStatus::of_all(servers.iter()).cause();
        assert_eq!(causes(&[]), LineCause::NotConnected);
        assert_eq!(causes(&[refused("a"), refused("b")]), LineCause::Revoked);
        assert_eq!(causes(&[refused("a"), connecting("b")]), LineCause::Lost);
    }
}
