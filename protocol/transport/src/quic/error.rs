//! Errors of `quinn` as errors of any leg.

use crate::error::{ReadError, SendError, SessionError};
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::Fault;
use docxy_protocol::text::clean;
use quinn::{ConnectionError, TransportErrorCode};
use std::sync::Arc;

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ClosedByPeer {
                code: CloseCode::from_code(close.error_code.into_inner()),
                reason: match &*close.reason {
                    [] => clean(format_args!("code {}", close.error_code)),
                    reason => clean(String::from_utf8_lossy(reason)),
                },
            },
            ConnectionError::ConnectionClosed(close) if close.error_code == no_application_protocol() => {
                Self::NoCommonVersion
            }
            // Only a server that ends refuses connections.
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::NotAccepting
            }
            ConnectionError::LocallyClosed => Self::Closed,
            error => Self::Failed(Arc::new(error)),
        }
    }
}

/// TLS's alert of a server that speaks none of the client's protocols (RFC 7301, section 3.2).
fn no_application_protocol() -> TransportErrorCode {
    TransportErrorCode::crypto(120)
}

impl From<quinn::WriteError> for SendError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(error) => Self::Lost(error.into()),
            // No stream is written after its end, and there is no 0-RTT.
            quinn::WriteError::Stopped(_)
            | quinn::WriteError::ClosedStream
            | quinn::WriteError::ZeroRttRejected => Self::Stopped,
        }
    }
}

impl From<quinn::ReadError> for ReadError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Reset(Fault::from_reset_code(code.into_inner())),
            quinn::ReadError::ConnectionLost(error) => Self::Lost(error.into()),
            // No stream is read after it was stopped, all reads are ordered, and there is no 0-RTT.
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Ended,
        }
    }
}
