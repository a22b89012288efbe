//! Why a request got no response, or a body no further bytes.
//!
//! Must never decide what is worth another try: the fault table does.

use docxy_protocol::fault::{Fault, FaultKind, Hop, Retry};
use docxy_transport::{ReadError, SendError};
use std::error::Error;
use std::fmt::Display;

/// The one error of exchanges and transfers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// A hop failed. The server reported it, or sent something that cannot be used.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The server reset the stream. That discards what was received, perhaps the head of the response.
    #[error("{0}")]
    Reset(#[source] Fault),
    /// The session ended. The request can be sent again on the next one: every operation only reads.
    #[error("{}: the connection was lost: {}", Hop::Tunnel, causes(&**.0))]
    SessionLost(#[source] Box<dyn Error + Send + Sync>),
    /// The running client that served a command ended, or cannot serve it any more. The same holds.
    #[error("{}: {RUNNING_CLIENT_LOST}", Hop::Tunnel)]
    RunningClientLost,
}

/// The detail for the user. What the library that read its messages says goes to the log.
const RUNNING_CLIENT_LOST: &str = "the docxy-client that served this pull has ended, or does not respond";

impl ExchangeError {
    /// The session was lost for this reason.
    pub(crate) fn lost(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::SessionLost(cause.into())
    }

    /// What the server sent is not what it announced, or not what was requested.
    pub(crate) fn mismatch(detail: impl Display) -> Self {
        Self::Fault(Fault::new(Hop::Server, FaultKind::Mismatch, detail))
    }

    /// What the server sent cannot be parsed.
    pub(super) fn protocol(detail: impl Display) -> Self {
        let detail = format!("{detail}; are client and server of one version?");
        Self::Fault(Fault::new(Hop::Server, FaultKind::MalformedResponse, detail))
    }

    /// The fault for the engine, with all causes.
    pub(crate) fn to_fault(&self) -> Fault {
        match self {
            Self::Fault(fault) | Self::Reset(fault) => fault.clone(),
            Self::SessionLost(cause) => {
                let detail = format!("the connection was lost: {}", causes(&**cause));
                Fault::new(Hop::Tunnel, FaultKind::Unreachable, detail)
            }
            Self::RunningClientLost => Fault::new(Hop::Tunnel, FaultKind::Unreachable, RUNNING_CLIENT_LOST),
        }
    }

    /// Whether another try may succeed, by the fault table.
    pub(crate) fn retry(&self) -> Retry {
        self.to_fault().retry()
    }
}

impl From<SendError> for ExchangeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Frame(error) => {
                Fault::new(Hop::Engine, FaultKind::RequestInvalid, format!("the request's {error}")).into()
            }
            // The session is in use, so the request can be sent again on it.
            SendError::Stopped => Self::Reset(Fault::new(Hop::Server, FaultKind::Cancelled, error)),
            SendError::Lost(_) => Self::lost(error),
        }
    }
}

impl From<ReadError> for ExchangeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(fault) => Self::Reset(fault),
            ReadError::Lost(error) => Self::lost(error),
            ReadError::Ended => Self::mismatch(error),
            ReadError::Frame(error) => Self::protocol(error),
        }
    }
}

/// The texts of an error and of its causes. An error may repeat its cause.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_transport::SessionError;
    use std::sync::Arc;

    #[test]
    fn a_lost_session_says_why() {
        let cause = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let error = ExchangeError::from(ReadError::Lost(SessionError::Failed(Arc::new(cause))));
        let text = "tunnel: the connection was lost: timed out";
        assert_eq!((error.to_string(), error.to_fault().to_string()), (text.to_owned(), text.to_owned()));
        assert_eq!(error.retry(), Retry::Transient);
    }
}
