//! What can go wrong, and the one table that says what the user sees of it.
//!
//! A fault names the hop that failed, so that nobody has to guess whether it was the line, the
//! server, the registry or its CDN. Its text is shown to users and logged: no credential, token,
//! link or URL query may ever be put into it.

use crate::text::CleanText;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The part of the way that failed, seen from the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hop {
    /// The engine's own request.
    Engine,
    /// The line between client and server.
    Tunnel,
    /// The docxy server itself.
    Server,
    /// The registry.
    Registry,
    /// The registry's token service.
    Auth,
    /// Where the registry keeps its blobs.
    Cdn,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "request",
            Self::Tunnel => "tunnel",
            Self::Server => "docxy server",
            Self::Registry => "registry",
            Self::Auth => "token service",
            Self::Cdn => "CDN",
        })
    }
}

/// What happened there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// A repository or registry name that is none.
    NameInvalid,
    /// A digest that is none.
    DigestInvalid,
    /// A tag or digest that is none.
    ReferenceInvalid,
    /// A query, a form or a header that cannot be read.
    RequestInvalid,
    /// A path that isn't served.
    RouteUnknown,
    /// A method that isn't served on this path.
    MethodNotServed,
    /// A `Host` that isn't ours: a foreign web page, most likely.
    HostNotServed,
    /// A registry that the server's operator didn't list.
    RegistryNotServed,
    /// No connection, for now.
    Down,
    /// The server refuses this client.
    Refused,
    /// A limit is reached.
    Overloaded,
    /// No connection could be made, or none that lasted until an answer.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// An answer that makes no sense.
    MalformedResponse,
    /// A body that ended before its end.
    Truncated,
    /// A redirect that must not be followed.
    RedirectRefused,
    /// A credential that was good when the transfer began isn't any more. Only whoever showed it
    /// can show another one and ask for the rest.
    CredentialExpired,
    /// The other side gave up; nobody is left to tell.
    Cancelled,
    /// A bug of ours.
    Internal,
    /// A web page of somebody else that makes a browser ask.
    OriginNotServed,
}

impl FaultKind {
    /// The table: HTTP status (RFC 9110) and error code (distribution spec, "Error Codes", plus
    /// `UNAVAILABLE` and `UNKNOWN`, which engines know from the distribution registry).
    ///
    /// No engine takes a 503 or 502 for an answer about the image; a 404 would send it on to the
    /// blocked origin, a 429 would make containerd ask five times over.
    const fn status_and_code(self) -> (StatusCode, &'static str) {
        match self {
            Self::NameInvalid => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::DigestInvalid => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::ReferenceInvalid => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::RequestInvalid => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
            Self::RouteUnknown => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            Self::MethodNotServed => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::HostNotServed => (StatusCode::MISDIRECTED_REQUEST, "DENIED"),
            Self::RegistryNotServed | Self::OriginNotServed => (StatusCode::FORBIDDEN, "DENIED"),
            Self::Down | Self::Refused | Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "UNAVAILABLE"),
            Self::Unreachable
            | Self::MalformedResponse
            | Self::Truncated
            | Self::RedirectRefused
            | Self::CredentialExpired => (StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
            Self::Cancelled | Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }
}

/// A failure, where it happened and what to tell the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{hop}: {detail}")]
pub struct Fault {
    /// The part of the way that failed.
    pub hop: Hop,
    /// What happened there.
    pub kind: FaultKind,
    /// What to tell the user; free of secrets, and clean wherever it comes from.
    pub detail: CleanText,
}

impl Fault {
    /// A fault with its text, which is cleaned, and cut to a length that fits into any head.
    #[must_use]
    pub fn new(hop: Hop, kind: FaultKind, detail: impl fmt::Display) -> Self {
        Self { hop, kind, detail: CleanText::new(detail) }
    }

    /// The HTTP status that the engine sees.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status_and_code().0
    }

    /// The distribution spec's error code that the engine sees.
    #[must_use]
    pub const fn oci_code(&self) -> &'static str {
        self.kind.status_and_code().1
    }

    /// The code with which a stream is reset when the answer's head is out already.
    #[must_use]
    pub fn reset_code(&self) -> u32 {
        let hop = HOPS.iter().position(|h| *h == self.hop).unwrap_or_default();
        let kind = KINDS.iter().position(|k| *k == self.kind).unwrap_or_default();
        // Both tables hold far fewer than 256 entries, which a test checks.
        ((hop as u32) << 8) | kind as u32
    }

    /// The fault behind a reset's code; an unknown code is the server's fault, not a panic.
    #[must_use]
    pub fn from_reset_code(code: u64) -> Self {
        let known =
            usize::try_from(code).ok().and_then(|code| Some((HOPS.get(code >> 8)?, KINDS.get(code & 0xff)?)));
        match known {
            Some((hop, kind)) => Self::new(*hop, *kind, "the transfer was broken off"),
            None => Self::new(Hop::Server, FaultKind::Internal, format!("reset with unknown code {code}")),
        }
    }
}

/// Codes on the wire are indexes into these: append, never reorder.
const HOPS: [Hop; 6] = [Hop::Engine, Hop::Tunnel, Hop::Server, Hop::Registry, Hop::Auth, Hop::Cdn];
const KINDS: [FaultKind; 20] = [
    FaultKind::Cancelled,
    FaultKind::Internal,
    FaultKind::Truncated,
    FaultKind::TimedOut,
    FaultKind::Unreachable,
    FaultKind::MalformedResponse,
    FaultKind::Overloaded,
    FaultKind::Down,
    FaultKind::Refused,
    FaultKind::RedirectRefused,
    FaultKind::RegistryNotServed,
    FaultKind::HostNotServed,
    FaultKind::MethodNotServed,
    FaultKind::RouteUnknown,
    FaultKind::RequestInvalid,
    FaultKind::ReferenceInvalid,
    FaultKind::DigestInvalid,
    FaultKind::NameInvalid,
    FaultKind::OriginNotServed,
    FaultKind::CredentialExpired,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_survives_a_reset() {
        for hop in HOPS {
            for kind in KINDS {
                let back = Fault::from_reset_code(u64::from(Fault::new(hop, kind, "x").reset_code()));
                assert_eq!((back.hop, back.kind), (hop, kind));
            }
        }
        assert_eq!(Fault::from_reset_code(0xffff).kind, FaultKind::Internal);
        assert_eq!(Fault::from_reset_code(u64::MAX).kind, FaultKind::Internal);
    }

    #[test]
    fn no_fault_of_ours_looks_like_an_answer_about_the_image() {
        for kind in KINDS {
            let (status, _) = kind.status_and_code();
            assert!(status.is_client_error() || status.is_server_error());
            assert!(
                status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::UNAUTHORIZED,
                "{kind:?}"
            );
            assert!(status != StatusCode::NOT_FOUND || kind == FaultKind::RouteUnknown, "{kind:?}");
        }
    }
}
