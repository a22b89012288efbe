//! Why a proxy gave no connection, each with what to do.
//!
//! Must never contain a user, a password, or the destination, which may be an address of a private network.

use super::url::{Proxy, Scheme};
use std::io;
use std::time::Duration;

/// A proxy gave no connection.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} {failure}")]
pub struct ProxyError {
    /// The proxy.
    pub proxy: Proxy,
    /// What happened, without the proxy's host. Part of the text above, so that it is no source of its own.
    pub failure: ProxyFailure,
}

/// What happened, in words that follow "the proxy".
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum ProxyFailure {
    #[error("cannot be resolved: {0}; check its name")]
    Resolve(io::Error),
    #[error("cannot be reached: {0}; check that it runs, and its address and port")]
    Connect(io::Error),
    #[error("cannot be reached within {} s; check its address and port, and the firewalls on the way", _0.as_secs())]
    ConnectTimeout(Duration),
    #[error("does not answer within {} s; check that it works and reaches the internet, and the scheme of its URL", _0.as_secs())]
    ResponseTimeout(Duration),
    #[error("closes the connection without an answer; check that this machine may use it, and its port")]
    Closed,
    #[error("answers something else than {0}; check the scheme and the port of its URL")]
    OtherProtocol(&'static str),
    #[error("asks for credentials ({0}); set a user and a password for it")]
    CredentialsMissing(&'static str),
    #[error("refuses the credentials ({0}); check user and password")]
    CredentialsRefused(&'static str),
    #[error("asks for a password (SOCKS5); set a password for its user")]
    PasswordMissing,
    #[error("cannot take these credentials: {0}")]
    CredentialsInvalid(&'static str),
    #[error("does not allow this destination ({0}); ask its administrator to allow it")]
    Forbidden(&'static str),
    #[error("cannot reach the destination ({0}); check that it reaches the internet")]
    DestinationUnreachable(String),
    #[error("answers {0}; ask its administrator why")]
    Status(u16),
}

impl ProxyFailure {
    /// Whether it is about the destination, so that another destination may work.
    #[must_use]
    pub const fn is_about_destination(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::DestinationUnreachable(_) | Self::Status(_))
    }

    /// Whether it stays until the proxy or its settings are changed.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::CredentialsMissing(_)
                | Self::CredentialsRefused(_)
                | Self::CredentialsInvalid(_)
                | Self::PasswordMissing
                | Self::Forbidden(_)
                | Self::OtherProtocol(_)
        )
    }

    /// The response of a proxy that is not a success (RFC 9110).
    pub(super) fn of_status(status: http::StatusCode, had_credentials: bool) -> Self {
        match status.as_u16() {
            407 if had_credentials => Self::CredentialsRefused("407"),
            407 => Self::CredentialsMissing("407"),
            // As tinyproxy says that they are wrong.
            401 if had_credentials => Self::CredentialsRefused("401"),
            403 => Self::Forbidden("403"),
            500..=599 => Self::DestinationUnreachable(status.to_string()),
            other => Self::Status(other),
        }
    }

    /// The end of a SOCKS5 handshake that is not a success (RFC 1928, section 6).
    pub(super) fn of_socks(error: tokio_socks::Error, has_password: bool) -> Self {
        use tokio_socks::Error as Socks;
        match error {
            Socks::Io(error) => Self::of_io(error),
            Socks::NoAcceptableAuthMethods | Socks::AuthorizationRequired => {
                Self::CredentialsMissing("SOCKS5 method")
            }
            Socks::PasswordAuthFailure(_) => Self::CredentialsRefused("SOCKS5"),
            Socks::InvalidAuthValues(_) if !has_password => Self::PasswordMissing,
            Socks::InvalidAuthValues(why) => Self::CredentialsInvalid(why),
            Socks::ConnectionNotAllowedByRuleset => Self::Forbidden("SOCKS5 reply 2"),
            Socks::GeneralSocksServerFailure
            | Socks::NetworkUnreachable
            | Socks::HostUnreachable
            | Socks::ConnectionRefused
            | Socks::TtlExpired
            | Socks::AddressTypeNotSupported => {
                Self::DestinationUnreachable(error.to_string().to_lowercase())
            }
            _ => Self::OtherProtocol(Scheme::Socks5.name()),
        }
    }

    /// An error of the connection to the proxy after it was made.
    pub(super) fn of_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Connect(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_password_is_told_to_set_one() {
        let text = |has_password| {
            let error = tokio_socks::Error::InvalidAuthValues("password length should between 1 to 255");
            ProxyFailure::of_socks(error, has_password).to_string()
        };
        assert!(text(false).contains("set a password"), "{}", text(false));
        assert!(!text(true).contains("set a password"), "{}", text(true));
    }
}
