//! Dials a server over one leg.

use crate::connector::Connector;
use crate::error::SessionError;
use crate::leg::Leg;
use crate::session::Session;
use crate::{quic, tcp};
use docxy_protocol::congestion::Choice;
use docxy_protocol::identity::Pin;
use std::net::SocketAddr;

/// A server, and how to dial it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address, the same on each leg.
    pub address: SocketAddr,
    /// The pin of its key.
    pub pin: Pin,
    /// The server name to send; without it, none is sent. Anybody on the path can read it.
    pub server_name: Option<String>,
    /// How this side sends. On TCP, the kernel decides.
    pub congestion: Choice,
    /// How TCP connections are opened. QUIC needs none.
    pub connector: Connector,
    /// Whether a session over TCP opens its other connection, for bulk.
    pub joins: bool,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// QUIC failed.
    #[error(transparent)]
    Quic(#[from] quic::DialError),
    /// TCP, TLS over it or HTTP/2 failed.
    #[error(transparent)]
    Tcp(#[from] tcp::DialError),
}

impl DialError {
    /// Whether another key has answered than the pin's.
    #[must_use]
    pub const fn is_other_key(&self) -> bool {
        matches!(self, Self::Quic(quic::DialError::OtherKey(_)) | Self::Tcp(tcp::DialError::OtherKey(_)))
    }

    /// Whether there was no connection for a handshake.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Quic(quic::DialError::Socket(_) | quic::DialError::Connect(_))
                | Self::Tcp(tcp::DialError::Connect(_))
        )
    }

    /// How the server ended the handshake, if it did.
    #[must_use]
    pub const fn session_error(&self) -> Option<&SessionError> {
        match self {
            Self::Quic(quic::DialError::Handshake(error)) => Some(error),
            Self::Quic(_) | Self::Tcp(_) => None,
        }
    }
}

/// Dials the server over this leg.
///
/// # Errors
/// If the handshake fails. It may take as long as the idle timeout.
pub async fn dial(leg: Leg, peer: &Peer) -> Result<Session, DialError> {
    let Peer { address, pin, server_name, congestion, connector, joins } = peer;
    let name = server_name.as_deref();
    Ok(match leg {
        Leg::Quic => quic::dial(*address, *pin, name, *congestion).await?.into(),
        Leg::Tcp => tcp::dial(*address, *pin, name, *congestion, connector.clone(), *joins).await?.into(),
    })
}
