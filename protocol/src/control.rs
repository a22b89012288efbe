//! What streams are opened with, and what passes on the control stream.

use crate::congestion::Choice;
use crate::link::{ClientName, ClientSecret};
use crate::request::Request;
use crate::text::CleanText;
use serde::{Deserialize, Serialize};

/// The first frame on every stream, from the client.
///
/// The first stream of a connection must say `Hello` and no other may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamHeader {
    /// Who is calling. The stream stays open for [`ControlMessage`]s.
    Hello(Hello),
    /// A request; the same stream brings the answer.
    Request(Box<Request>),
    /// A place for a segment of a running answer.
    Segment(SegmentHeader),
}

/// A client's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The name that the operator gave it.
    pub name: ClientName,
    /// What proves it.
    pub secret: ClientSecret,
    /// How it wants the server to send. The operator may have it send more slowly.
    pub congestion: Choice,
}

/// Names a segment of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// The exchange, by the number of its request's stream.
    pub exchange: u64,
    /// Which segment, from 0.
    pub n: u32,
}

/// What the server says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlMessage {
    /// The Hello was accepted.
    Welcome {
        /// The server's version, for the client's log.
        version: CleanText<64>,
    },
    /// The server is about to end: running exchanges finish, new ones belong elsewhere.
    Draining,
}

/// Why a connection was closed, as QUIC's application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The side that closed had nothing left to do.
    Done,
    /// No client of that name with that secret.
    UnknownClient,
    /// The operator revoked this client.
    Revoked,
    /// The server ends.
    Draining,
    /// The peer broke the protocol.
    ProtocolViolation,
    /// The client was not authenticated in time.
    HelloTimeout,
    /// The client has more connections than it may, and newer ones.
    TooManyConnections,
    /// A newer connection took this one's place before its client was authenticated.
    Overloaded,
}

const CLOSE_CODES: [CloseCode; 8] = [
    CloseCode::Done,
    CloseCode::UnknownClient,
    CloseCode::Revoked,
    CloseCode::Draining,
    CloseCode::ProtocolViolation,
    CloseCode::HelloTimeout,
    CloseCode::TooManyConnections,
    CloseCode::Overloaded,
];

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        CLOSE_CODES.iter().position(|c| *c == self).unwrap_or_default() as u32
    }

    /// The meaning of a number, where it has one.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        CLOSE_CODES.get(usize::try_from(code).ok()?).copied()
    }

    /// The reason for people, sent along and shown on the other side.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::UnknownClient => "no client of this name with this secret is known to the server",
            Self::Revoked => "this client's access was revoked by the server's operator",
            Self::Draining => "the server is shutting down",
            Self::ProtocolViolation => "the peer broke the protocol",
            Self::HelloTimeout => "no hello within the time allowed",
            Self::Overloaded => "the server has too many new connections at the moment",
            Self::TooManyConnections => "this link is in use in too many places at once",
        }
    }

    /// Whether dialling again soon is pointless, since only the operator can change the answer.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::UnknownClient | Self::Revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_keep_their_numbers() {
        for (number, code) in CLOSE_CODES.iter().enumerate() {
            assert_eq!(code.code() as usize, number);
            assert_eq!(CloseCode::from_code(number as u64), Some(*code));
        }
        assert_eq!(CloseCode::from_code(99), None);
    }
}
