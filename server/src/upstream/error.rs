//! Why an operation failed upstream: the fault for the client, and the cause for the log.
//!
//! Must never show the cause to a client: it may name an address of the operator's network.

use docxy_protocol::fault::{Fault, FaultKind, Hop, Retry};
use docxy_protocol::text::{CleanText, clean};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// The error of everything in `upstream`. Requests that share a fetch share it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{fault}")]
pub(crate) struct UpstreamError {
    /// What the client receives.
    pub(crate) fault: Fault,
    /// The delay that the remote requests before another try.
    pub(crate) retry_after: Option<Duration>,
    #[source]
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl UpstreamError {
    pub(crate) fn new(hop: Hop, kind: FaultKind, detail: impl Display) -> Self {
        Fault::new(hop, kind, detail).into()
    }

    /// A bug in Docxy.
    pub(crate) fn internal(detail: impl Display) -> Self {
        Self::new(Hop::Server, FaultKind::Internal, detail)
    }

    /// Sets the delay that the remote requests.
    pub(crate) fn retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// Adds what caused it.
    pub(crate) fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into().into()), ..self }
    }

    /// Whether another try of this server may succeed. Only a client can renew its credential.
    pub(crate) fn is_transient(&self) -> bool {
        self.fault.retry() == Retry::Transient && self.fault.kind != FaultKind::CredentialExpired
    }

    /// The error that a client receives when this server has tried again in vain: the client must not start all
    /// retries once more.
    pub(crate) fn after_retries(mut self) -> Self {
        if self.is_transient() {
            self.fault.kind = FaultKind::RetriesExhausted;
        }
        self
    }

    /// The causes, the outermost first, for the log.
    pub(crate) fn causes(&self) -> Option<CleanText> {
        let causes: Vec<String> = chain(self).skip(1).map(ToString::to_string).collect();
        (!causes.is_empty()).then(|| clean(causes.join(": ")))
    }
}

/// An error and its causes, the outermost first.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

impl From<Fault> for UpstreamError {
    fn from(fault: Fault) -> Self {
        Self { fault, retry_after: None, cause: None }
    }
}

/// Errors are equal for their clients.
impl PartialEq for UpstreamError {
    fn eq(&self, other: &Self) -> bool {
        self.fault == other.fault
    }
}

impl Eq for UpstreamError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_are_for_the_log_and_not_for_the_client() {
        let cause = io::Error::other(io::Error::other("10.0.0.1 refused"));
        let error = UpstreamError::new(Hop::Cdn, FaultKind::Unreachable, "not reachable").caused_by(cause);
        assert_eq!(error.to_string(), "CDN: not reachable");
        assert!(error.causes().unwrap().as_str().contains("10.0.0.1 refused"));
        assert_eq!(UpstreamError::internal("x").causes(), None);
    }
}
