//! What each stream begins with, the messages on the control stream, and the codes that close a session.
//! Must never reuse the number of a close code.

use crate::congestion::{Choice, Rate};
use crate::frame::{self, FrameError};
use crate::limits::SERVED_REGISTRIES_MAX;
use crate::link::{ClientName, ClientSecret};
use crate::name::Registry;
use crate::request::Request;
use crate::text::CleanText;
use crate::version::{WIRE_VERSION, preamble};
use serde::{Deserialize, Deserializer, Serialize};

/// The first frame on every stream of the client but the first, which begins with a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamHeader {
    /// A request; the reply follows on the same stream.
    Request(Box<RequestHeader>),
    /// A stream for one segment of a response.
    Segment(SegmentHeader),
    /// Bytes follow, at most [`ECHO_BYTES_MAX`](crate::limits::ECHO_BYTES_MAX). When all have arrived, the server sends as
    /// many back, each of them 0.
    Echo,
}

/// Who the client is, and how it wants to be sent to: on the first stream of a session, which stays open for
/// [`ControlMessage`]s. It begins with [`HelloBeginning`], whatever follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The name from its link.
    pub name: ClientName,
    /// The secret from its link.
    pub secret: ClientSecret,
    /// How the server should send. The operator may limit the rate.
    pub congestion: Choice,
    /// How fast the server may send at most, whatever the congestion control says. The operator may limit it further.
    pub max_rate: Option<Rate>,
}

impl Hello {
    /// The bytes on the stream: the [version](crate::version) of the wire, and then a frame.
    ///
    /// # Errors
    /// If the Hello is too long for a frame, which its types rule out.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        Ok([&preamble(WIRE_VERSION)[..], &frame::encode(self)?].concat())
    }
}

/// What a Hello begins with in every version of the wire, so that a server knows the sender of any.
#[derive(Debug, Deserialize)]
pub struct HelloBeginning {
    /// The name from its link.
    pub name: ClientName,
    /// The secret from its link.
    pub secret: ClientSecret,
}

/// One request and its response. The client chooses the number, which is unique in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, derive_more::Display, Serialize, Deserialize)]
pub struct ExchangeId(pub u64);

/// Begins an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    /// The exchange, which must not be in use.
    pub exchange: ExchangeId,
    /// What the client asks for.
    pub request: Request,
}

/// Identifies a segment of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// The exchange whose response it belongs to.
    pub exchange: ExchangeId,
    /// The index of the segment, from 0.
    pub n: u32,
}

/// A message of the server on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlMessage {
    /// The Hello was accepted.
    Welcome(Welcome),
    /// The server is shutting down. A client with another server moves to it; one without goes on here, until the
    /// server closes its session with [`CloseCode::HandedBack`].
    Draining,
    /// What the server has sent on this session until now, while it sends much: only the sender knows what was lost,
    /// and the client chooses the leg.
    Sent {
        /// Packets sent.
        packets: u64,
        /// Those of them that were lost because too much was sent. What a lossy line loses at any rate is left out, so
        /// that it can be told from a policer.
        lost: u64,
    },
}

/// What a server says of itself to a client that it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The server's version, for the client's log.
    pub version: CleanText<64>,
    /// The registries that it serves, when it sends this.
    pub registries: ServedRegistries,
    /// Its clock when it sends this, in seconds since the Unix epoch.
    pub time: u64,
}

/// The registries that a server serves, in order: at most [`SERVED_REGISTRIES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, derive_more::Deref)]
pub struct ServedRegistries(Vec<Registry>);

impl FromIterator<Registry> for ServedRegistries {
    /// Takes no more than a Welcome may name. Settings with more are refused before.
    fn from_iter<T: IntoIterator<Item = Registry>>(registries: T) -> Self {
        let mut registries: Vec<_> = registries.into_iter().collect();
        registries.sort();
        registries.truncate(SERVED_REGISTRIES_MAX);
        Self(registries)
    }
}

impl<'de> Deserialize<'de> for ServedRegistries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from_iter)
    }
}

/// Why a connection was closed, as QUIC's application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::TryFrom)]
#[try_from(repr)]
#[repr(u32)]
pub enum CloseCode {
    /// The side that closed has no more work.
    Done = 0,
    /// No client with this name and secret exists.
    UnknownClient = 1,
    /// The operator revoked this client.
    Revoked = 2,
    /// The server is shutting down.
    Draining = 3,
    /// The peer violated the protocol.
    ProtocolViolation = 4,
    /// The client was not authenticated in time.
    AuthenticationTimeout = 5,
    /// The client has too many connections, and this is the oldest.
    TooManyConnections = 6,
    /// Too many connections are unauthenticated, and a newer one replaced this one.
    TooManyUnauthenticated = 7,
    /// The client speaks an older version of the wire. The text says what to upgrade to.
    ClientOutdated = 8,
    /// The client speaks a newer version of the wire.
    ServerOutdated = 9,
    /// The server ends. What has not arrived is to be requested again: from the next process at its address, or from
    /// another server.
    HandedBack = 10,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The close code with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        u32::try_from(code).ok()?.try_into().ok()
    }

    /// The reason as text, which is sent with the code and shown on the other side.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::UnknownClient => "no client of this name with this secret is known to the server",
            Self::Revoked => "the server's operator revoked this client's access",
            Self::Draining => "the server is shutting down",
            Self::ProtocolViolation => "the peer violated the protocol",
            Self::AuthenticationTimeout => "the client was not authenticated in time",
            Self::TooManyUnauthenticated => "the server has too many new connections",
            Self::ClientOutdated => "the client is older than the server: upgrade docxy-client",
            Self::ServerOutdated => "the server is older than the client: upgrade docxy-server",
            Self::TooManyConnections => "this link is in use in too many places at the same time",
            Self::HandedBack => "the server ends or restarts, and has handed back what was not sent yet",
        }
    }

    /// The code to close the session of a client that speaks this version of the wire with; `None` for our own.
    #[must_use]
    pub const fn for_version(version: u16) -> Option<Self> {
        match version {
            WIRE_VERSION => None,
            ..WIRE_VERSION => Some(Self::ClientOutdated),
            _ => Some(Self::ServerOutdated),
        }
    }

    /// Whether the server ends: the next process may be at its address a moment later.
    #[must_use]
    pub const fn is_shutdown(self) -> bool {
        matches!(self, Self::Draining | Self::HandedBack)
    }

    /// Whether a reconnect is pointless, since only the operator can change the result.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::UnknownClient | Self::Revoked | Self::ClientOutdated | Self::ServerOutdated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_keep_their_numbers() {
        let codes: Vec<CloseCode> = (0..).map_while(CloseCode::from_code).collect();
        assert_eq!(codes.len(), 11);
        for (number, code) in (0..).zip(codes) {
            assert_eq!(code.code(), number);
        }
        assert_eq!(CloseCode::HandedBack.code(), 10);
        assert_eq!(CloseCode::from_code(u64::MAX), None);
    }
}
