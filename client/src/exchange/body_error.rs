//! Why a body was interrupted, and whether the rest can be requested again.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_transport::ReadError;
use std::fmt;

/// Why a body was interrupted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection, the server or the credential failed. The rest can be requested again.
    #[error(transparent)]
    Transient(Fault),
    /// A hop behind the server failed for good, or the body is not what was announced.
    #[error(transparent)]
    Permanent(Fault),
}

impl BodyError {
    /// The error of a fault that the server reported. A server that shuts down or dropped the exchange is
    /// like a lost connection, and an expired credential can be renewed. A fault of a hop behind the server
    /// is permanent, since the server has retried already.
    pub(super) fn from_fault(fault: Fault) -> Self {
        let is_transient = match fault.kind {
            FaultKind::CredentialExpired => true,
            FaultKind::Cancelled | FaultKind::Down | FaultKind::Overloaded => fault.hop == Hop::Server,
            _ => false,
        };
        if is_transient { Self::Transient(fault) } else { Self::Permanent(fault) }
    }

    /// The connection was lost.
    pub(super) fn connection_lost(reason: impl fmt::Display) -> Self {
        let detail = format!("the connection was lost in mid-transfer: {reason}");
        Self::Transient(Fault::new(Hop::Tunnel, FaultKind::Truncated, detail))
    }

    /// The body is not what was announced.
    pub(super) fn mismatch(detail: &str) -> Self {
        Self::Permanent(Fault::new(Hop::Tunnel, FaultKind::Truncated, detail))
    }
}

impl From<ReadError> for BodyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(fault) => Self::from_fault(fault),
            ReadError::Lost(error) => Self::connection_lost(error),
            error @ (ReadError::Ended | ReadError::Frame(_)) => Self::mismatch(&error.to_string()),
        }
    }
}
