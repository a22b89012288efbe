//! Faults: which hop failed and how, and the one table of the status that the engine gets for each, and of
//! what is worth another try. Nothing else may decide that.
//!
//! Users see the text of a fault, and it is logged: it must never contain a credential, token, link or URL
//! query.

use crate::text::CleanText;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The hop that failed, as seen from the engine. Numbers and order as in [`FaultKind`].
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    derive_more::TryFrom,
    derive_more::Display,
)]
#[try_from(repr)]
#[repr(u32)]
pub enum Hop {
    /// The engine's own request.
    #[display("request")]
    Engine = 0,
    /// The connection between client and server.
    #[display("tunnel")]
    Tunnel = 1,
    /// The docxy server itself.
    #[display("docxy server")]
    Server = 2,
    /// The registry.
    #[display("registry")]
    Registry = 3,
    /// The registry's token service.
    #[display("token service")]
    TokenService = 4,
    /// The storage to which the registry redirects for blobs.
    #[display("CDN")]
    Cdn = 5,
}

impl Hop {
    /// Whether it is behind the server: the registry, its token service or its CDN.
    #[must_use]
    pub const fn is_upstream(self) -> bool {
        matches!(self, Self::Registry | Self::TokenService | Self::Cdn)
    }
}

/// How the hop failed. The numbers are those of reset codes and must never change. In frames, the order counts:
/// append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, derive_more::TryFrom)]
#[try_from(repr)]
#[repr(u32)]
pub enum FaultKind {
    /// An invalid repository or registry name.
    NameInvalid = 17,
    /// An invalid digest.
    DigestInvalid = 16,
    /// An invalid tag or digest.
    ReferenceInvalid = 15,
    /// An invalid query, form or header field.
    RequestInvalid = 14,
    /// An unknown path.
    RouteUnknown = 13,
    /// A method that this path does not support.
    MethodNotServed = 12,
    /// A `Host` that is not the client's: probably a foreign web page.
    HostNotServed = 11,
    /// A registry, or a repository of it, that the server's operator has not allowed.
    RegistryNotServed = 10,
    /// There is no connection at the moment.
    Down = 7,
    /// The server does not accept this client, or the server's proxy does not accept the server.
    Refused = 8,
    /// A limit was reached.
    Overloaded = 6,
    /// The connection could not be established, or was lost before a response.
    Unreachable = 4,
    /// A timeout expired.
    TimedOut = 3,
    /// A response that is invalid, or an error of the hop itself (5xx).
    MalformedResponse = 5,
    /// A body that ended too early.
    Truncated = 2,
    /// A redirect that the server must not follow.
    RedirectRefused = 9,
    /// A credential that was valid when the transfer began has expired. The engine must request the rest
    /// with a new one.
    CredentialExpired = 19,
    /// The other side cancelled, so the fault is not reported.
    Cancelled = 0,
    /// A bug in Docxy.
    Internal = 1,
    /// A browser request from a foreign web page.
    OriginNotServed = 18,
    /// Something else than what was requested, or announced.
    Mismatch = 20,
    /// The hop failed, and again at each retry of the server.
    RetriesExhausted = 21,
    /// A body that is larger than Docxy's limit for it.
    TooLarge = 22,
    /// A machine that is in none of the networks which the client serves.
    PeerNotServed = 23,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It may.
    Transient,
    /// It cannot.
    Permanent,
}

impl FaultKind {
    /// The table: HTTP status (RFC 9110), error code (distribution spec, "Error Codes", plus `UNAVAILABLE`
    /// and `UNKNOWN`, which engines know from the distribution registry), and what is worth another try.
    ///
    /// No engine takes a 503 or 502 for a statement about the image. After a 404 it would try the blocked
    /// origin, and after a 429 containerd would retry five times.
    const fn row(self, hop: Hop) -> (StatusCode, &'static str, Retry) {
        use Retry::{Permanent, Transient};
        match self {
            Self::NameInvalid => (StatusCode::BAD_REQUEST, "NAME_INVALID", Permanent),
            Self::DigestInvalid => (StatusCode::BAD_REQUEST, "DIGEST_INVALID", Permanent),
            Self::ReferenceInvalid => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID", Permanent),
            Self::RequestInvalid => (StatusCode::BAD_REQUEST, "UNSUPPORTED", Permanent),
            Self::RouteUnknown => (StatusCode::NOT_FOUND, "UNSUPPORTED", Permanent),
            Self::MethodNotServed => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", Permanent),
            Self::HostNotServed => (StatusCode::MISDIRECTED_REQUEST, "DENIED", Permanent),
            Self::RegistryNotServed | Self::OriginNotServed | Self::PeerNotServed => {
                (StatusCode::FORBIDDEN, "DENIED", Permanent)
            }
            Self::Down | Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", Transient),
            Self::Refused => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", Permanent),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "UNAVAILABLE", Transient),
            Self::Unreachable | Self::Truncated => (StatusCode::BAD_GATEWAY, "UNAVAILABLE", Transient),
            Self::MalformedResponse | Self::CredentialExpired => {
                let retry = match (self, hop) {
                    // Another host of a registry may respond better. Client and server stay as they are.
                    (Self::MalformedResponse, Hop::Registry | Hop::TokenService | Hop::Cdn)
                    // The client can renew a token, but not the login that the token service refuses.
                    | (Self::CredentialExpired, Hop::Registry) => Transient,
                    _ => Permanent,
                };
                (StatusCode::BAD_GATEWAY, "UNAVAILABLE", retry)
            }
            // An engine repeats a 502, and would fetch it again in vain.
            Self::TooLarge if !matches!(hop, Hop::TokenService) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", Permanent)
            }
            Self::RedirectRefused | Self::Mismatch | Self::RetriesExhausted | Self::TooLarge => {
                (StatusCode::BAD_GATEWAY, "UNAVAILABLE", Permanent)
            }
            Self::Cancelled => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", Transient),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", Permanent),
        }
    }

    /// The kind of a response with this status in place of the requested content.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::CredentialExpired,
            StatusCode::TOO_MANY_REQUESTS => Self::Overloaded,
            StatusCode::REQUEST_TIMEOUT => Self::TimedOut,
            status if status.is_server_error() => Self::MalformedResponse,
            _ => Self::Mismatch,
        }
    }
}

/// A failure: the hop, the kind and a text for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{hop}: {detail}")]
pub struct Fault {
    /// The hop that failed.
    pub hop: Hop,
    /// How it failed.
    pub kind: FaultKind,
    /// The text for the user, without secrets and control characters.
    pub detail: CleanText,
}

impl Fault {
    /// A fault with this text, which is cleaned, and cut so that it fits into any frame.
    #[must_use]
    pub fn new(hop: Hop, kind: FaultKind, detail: impl fmt::Display) -> Self {
        Self { hop, kind, detail: CleanText::new(detail) }
    }

    /// Whether the registry, its token service or its CDN does not work now, rather than not for this request.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        use FaultKind::{MalformedResponse, RetriesExhausted, TimedOut, Truncated, Unreachable};
        let is_down =
            matches!(self.kind, Unreachable | TimedOut | MalformedResponse | Truncated | RetriesExhausted);
        self.hop.is_upstream() && is_down
    }

    /// The HTTP status for the engine.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.row(self.hop).0
    }

    /// The distribution spec's error code for the engine.
    #[must_use]
    pub const fn oci_code(&self) -> &'static str {
        self.kind.row(self.hop).1
    }

    /// Whether another try may succeed.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.kind.row(self.hop).2
    }

    /// The code to reset a stream with, if the reply was already sent.
    #[must_use]
    pub fn reset_code(&self) -> u32 {
        ((self.hop as u32) << 8) | self.kind as u32
    }

    /// The fault for the code of a reset. An unknown code becomes an internal fault of the server.
    #[must_use]
    pub fn from_reset_code(code: u64) -> Self {
        let found = u32::try_from(code)
            .ok()
            .and_then(|code| Some((Hop::try_from(code >> 8).ok()?, FaultKind::try_from(code & 0xff).ok()?)));
        match found {
            Some((hop, kind)) => Self::new(hop, kind, "the peer reset the stream"),
            None => Self::new(
                Hop::Server,
                FaultKind::Internal,
                format!("the peer reset the stream with the unknown code {code}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops() -> impl Iterator<Item = Hop> {
        (0..).map_while(|number| Hop::try_from(number).ok())
    }

    fn kinds() -> impl Iterator<Item = FaultKind> {
        (0..).map_while(|number| FaultKind::try_from(number).ok())
    }

    #[test]
    fn reset_codes_keep_hop_and_kind() {
        for hop in hops() {
            for kind in kinds() {
                let back = Fault::from_reset_code(u64::from(Fault::new(hop, kind, "x").reset_code()));
                assert_eq!((back.hop, back.kind), (hop, kind));
            }
        }
        let newest = Fault::new(Hop::Cdn, FaultKind::PeerNotServed, "x");
        assert_eq!(newest.reset_code(), 0x0517);
        assert_eq!(Fault::from_reset_code(0xffff).kind, FaultKind::Internal);
        assert_eq!(Fault::from_reset_code(u64::MAX).kind, FaultKind::Internal);
    }

    #[test]
    fn no_fault_looks_like_a_statement_about_the_image() {
        for kind in kinds() {
            let (status, ..) = kind.row(Hop::Registry);
            assert!(status.is_client_error() || status.is_server_error());
            assert!(
                status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::UNAUTHORIZED,
                "{kind:?}"
            );
            assert!(status != StatusCode::NOT_FOUND || kind == FaultKind::RouteUnknown, "{kind:?}");
        }
    }

    #[test]
    fn only_what_may_change_is_worth_another_try() {
        let transient = |hop, kind| Fault::new(hop, kind, "").retry() == Retry::Transient;
        for hop in hops() {
            for kind in [FaultKind::Down, FaultKind::Unreachable, FaultKind::TimedOut, FaultKind::Truncated] {
                assert!(transient(hop, kind), "{hop} {kind:?}");
            }
            for kind in [
                FaultKind::Refused,
                FaultKind::Mismatch,
                FaultKind::RegistryNotServed,
                FaultKind::RetriesExhausted,
                FaultKind::TooLarge,
            ] {
                assert!(!transient(hop, kind), "{hop} {kind:?}");
            }
            let is_upstream = hop.is_upstream();
            assert_eq!(transient(hop, FaultKind::MalformedResponse), is_upstream, "{hop}");
            assert_eq!(transient(hop, FaultKind::CredentialExpired), hop == Hop::Registry, "{hop}");
        }
        for (status, expected) in [(401, true), (408, true), (429, true), (500, true), (503, true)]
            .into_iter()
            .chain([200, 206, 302, 403, 404, 416].map(|status| (status, false)))
        {
            let kind = FaultKind::of_status(StatusCode::from_u16(status).unwrap());
            assert_eq!(transient(Hop::Registry, kind), expected, "{status}");
        }
    }
}
