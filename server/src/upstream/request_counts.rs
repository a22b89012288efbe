//! Counts the requests to one registry, with its token service and its CDN.
//!
//! Must never decide anything: it only counts.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use http::StatusCode;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Counts since the registry was set up.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    requests: Mutex<HashMap<(Hop, Option<StatusCode>), u64>>,
    retries: Mutex<HashMap<(Hop, FaultKind), u64>>,
}

impl RequestCounts {
    /// A host responded with this status, or not at all.
    pub(crate) fn requested(&self, hop: Hop, status: Option<StatusCode>) {
        *self.requests.lock().entry((hop, status)).or_default() += 1;
    }

    /// A request is sent again, since this happened.
    pub(crate) fn retried(&self, fault: &Fault) {
        *self.retries.lock().entry((fault.hop, fault.kind)).or_default() += 1;
    }

    /// By hop and status, which is `None` without a response.
    pub(crate) fn requests(&self) -> HashMap<(Hop, Option<StatusCode>), u64> {
        self.requests.lock().clone()
    }

    /// By what had failed.
    pub(crate) fn retries(&self) -> HashMap<(Hop, FaultKind), u64> {
        self.retries.lock().clone()
    }
}
