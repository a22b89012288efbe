//! Why a request got no response.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame::FrameError;
use docxy_transport::SendError;
use std::error::Error;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// A hop failed, and the server reported which.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The connection ended, or is about to end. The request can be sent again on the next one: every
    /// operation only reads.
    #[error("the connection was lost: {0}")]
    ConnectionLost(#[source] Box<dyn Error + Send + Sync>),
    /// The server reset the stream before the response head was read. A reset discards what was received, the
    /// head included, so the head may have been sent. The request is worth another attempt: an engine resumes
    /// an interrupted body, but goes elsewhere after an error.
    #[error("the stream was reset before its head was read: {0}")]
    ResetBeforeHead(#[source] Fault),
}

impl From<SendError> for ExchangeError {
    fn from(error: SendError) -> Self {
        Self::ConnectionLost(error.into())
    }
}

pub(super) fn protocol_error(detail: impl std::fmt::Display) -> Fault {
    Fault::new(
        Hop::Server,
        FaultKind::MalformedResponse,
        format!("{detail}; are client and server of one version?"),
    )
}

pub(super) fn unencodable(error: FrameError) -> Fault {
    Fault::new(Hop::Engine, FaultKind::RequestInvalid, format!("the request's {error}"))
}
