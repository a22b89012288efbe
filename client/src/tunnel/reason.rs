//! Why there is no session with a server: a text in English, and its cause as a value, which the page says in the user's
//! language.
//!
//! Must never decide what follows: the supervisor does.

use super::dial::DialError;
use docxy_host::net::proxy::{ProxyError, ProxyFailure};
use docxy_protocol::control::CloseCode;
use docxy_protocol::text::{CleanText, clean};
use docxy_transport::SessionError;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display)]
#[display("{text}")]
pub struct LineReason {
    /// In English, with addresses and numbers.
    pub text: CleanText,
    /// As a value.
    pub cause: LineCause,
}

/// Why there is no session, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it, and the page's words")]
pub enum LineCause {
    NotConnected,
    NoLink,
    SettingsChanged,
    NameUnresolved,
    Unreachable,
    Handshake,
    NoResponse,
    /// The handshake was successful, and nothing followed.
    NoReply,
    OtherKey,
    ClientOutdated,
    ServerOutdated,
    UnknownClient,
    Revoked,
    Draining,
    Protocol,
    TooSlow,
    TooManyConnections,
    ServerBusy,
    /// Other processes of this user have all connections.
    NoConnectionLeft,
    ProxyUnresolved,
    ProxyUnreachable,
    ProxySilent,
    ProxyProtocol,
    ProxyCredentials,
    ProxyForbids,
    /// The proxy works, and does not reach the server.
    BehindProxy,
    Silent,
    Closed,
    Lost,
}

impl LineReason {
    pub(crate) fn new(cause: LineCause, text: impl Display) -> Self {
        Self { text: clean(text), cause }
    }
}

impl From<DialError> for LineReason {
    fn from(error: DialError) -> Self {
        Self::new(LineCause::from(&error), error)
    }
}

impl From<CloseCode> for LineReason {
    fn from(code: CloseCode) -> Self {
        Self::new(code.into(), code.reason())
    }
}

impl From<&DialError> for LineCause {
    fn from(error: &DialError) -> Self {
        if let Some(error) = error.of_proxy() {
            return error.into();
        }
        match error {
            DialError::Resolve { .. } | DialError::NoAddress { .. } => Self::NameUnresolved,
            DialError::Connect { source, .. } if source.is_other_key() => Self::OtherKey,
            DialError::Connect { source, .. } if source.is_unreachable() => Self::Unreachable,
            DialError::Connect { source, .. } => match source.session_error() {
                None | Some(SessionError::Failed(_)) => Self::Handshake,
                Some(error) => error.into(),
            },
            DialError::ServerOutdated { .. } => Self::ServerOutdated,
            DialError::NoResponse { .. } => Self::NoResponse,
            DialError::Hello { .. } => Self::Lost,
            DialError::NoPermit { .. } => Self::NoConnectionLeft,
            DialError::Proxy(error) => error.into(),
            DialError::NoResponseByProxy { .. } => Self::BehindProxy,
            // An answer tells more than silence.
            DialError::All(errors) => {
                let mut causes = errors.iter().map(Self::from);
                causes.find(|cause| *cause != Self::NoResponse).unwrap_or(Self::NoResponse)
            }
        }
    }
}

impl From<&ProxyError> for LineCause {
    fn from(error: &ProxyError) -> Self {
        match &error.failure {
            ProxyFailure::Resolve(_) => Self::ProxyUnresolved,
            ProxyFailure::Connect(_) | ProxyFailure::ConnectTimeout(_) => Self::ProxyUnreachable,
            ProxyFailure::ResponseTimeout(_) | ProxyFailure::Closed => Self::ProxySilent,
            ProxyFailure::OtherProtocol(_) => Self::ProxyProtocol,
            ProxyFailure::CredentialsMissing(_)
            | ProxyFailure::CredentialsRefused(_)
            | ProxyFailure::PasswordMissing
            | ProxyFailure::CredentialsInvalid(_) => Self::ProxyCredentials,
            ProxyFailure::Forbidden(_) => Self::ProxyForbids,
            ProxyFailure::DestinationUnreachable(_) | ProxyFailure::Status(_) => Self::BehindProxy,
        }
    }
}

impl From<&SessionError> for LineCause {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::ClosedByPeer { code: Some(code), .. } => (*code).into(),
            SessionError::ClosedByPeer { code: None, .. } | SessionError::Closed => Self::Closed,
            SessionError::NoCommonVersion => Self::ServerOutdated,
            SessionError::NotAccepting => Self::Draining,
            SessionError::Failed(_) => Self::Lost,
        }
    }
}

impl From<CloseCode> for LineCause {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Done => Self::Closed,
            CloseCode::UnknownClient => Self::UnknownClient,
            CloseCode::Revoked => Self::Revoked,
            CloseCode::Draining | CloseCode::HandedBack => Self::Draining,
            CloseCode::ProtocolViolation => Self::Protocol,
            CloseCode::AuthenticationTimeout => Self::TooSlow,
            CloseCode::TooManyConnections => Self::TooManyConnections,
            CloseCode::TooManyUnauthenticated => Self::ServerBusy,
            CloseCode::ClientOutdated => Self::ClientOutdated,
            CloseCode::ServerOutdated => Self::ServerOutdated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_transport::Leg;
    use std::io;
    use std::time::Duration;

    #[test]
    fn an_answer_tells_more_than_silence() {
        let silence = || DialError::NoResponse {
            address: ([192, 0, 2, 7], 61443).into(),
            leg: Leg::Quic,
            timeout: Duration::from_secs(2),
        };
        let unresolved =
            DialError::Resolve { host: "vpn.example.org".to_owned(), source: io::ErrorKind::NotFound.into() };
        let cause = |error: DialError| LineReason::from(error).cause;
        assert_eq!(cause(DialError::All(vec![silence(), silence()])), LineCause::NoResponse);
        assert_eq!(cause(DialError::All(vec![silence(), unresolved])), LineCause::NameUnresolved);
    }
}
