//! Why a body broke off, and whether another connection would mend it.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use quinn::ReadError;
use std::fmt;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection went, or the server on it, or the credential; the rest can be asked for again.
    #[error(transparent)]
    Lost(Fault),
    /// Something behind the server failed for good, or what came is wrong.
    #[error(transparent)]
    Failed(Fault),
}

impl Broken {
    /// What the server says. That it ends itself, or has let an exchange go, is as good as a lost
    /// connection, and an expired credential may be renewed; what it says of those behind it is its
    /// last word, since it has tried all that it could.
    pub(super) fn told(fault: Fault) -> Self {
        let passing = match fault.kind {
            FaultKind::CredentialExpired => true,
            FaultKind::Cancelled | FaultKind::Down | FaultKind::Overloaded => fault.hop == Hop::Server,
            _ => false,
        };
        if passing { Self::Lost(fault) } else { Self::Failed(fault) }
    }

    /// A stream that ended with its connection.
    pub(super) fn lost(reason: impl fmt::Display) -> Self {
        let detail = format!("the connection was lost in mid-transfer: {reason}");
        Self::Lost(Fault::new(Hop::Tunnel, FaultKind::Truncated, detail))
    }

    /// A body that isn't what it was announced to be.
    pub(super) fn wrong(detail: &str) -> Self {
        Self::Failed(Fault::new(Hop::Tunnel, FaultKind::Truncated, detail))
    }
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::told(Fault::from_reset_code(code.into_inner())),
            error => Self::lost(error),
        }
    }
}
