//! Tells in the log when a registry begins to fail, and when it responds again.
//!
//! Must never write a line for each request or each attempt.

use super::TransferContext;
use docxy_protocol::fault::Fault;
use docxy_protocol::name::Registry;
use http::StatusCode;

impl TransferContext {
    /// A request to this registry has failed so.
    pub(crate) fn failed_at(&self, registry: &Registry, fault: &Fault) {
        if fault.is_outage() && self.outages.begin(registry.clone()) {
            tracing::warn!(%registry, reason = %fault, "the registry fails");
        }
    }

    /// This registry has responded.
    pub(crate) fn responded(&self, registry: &Registry, status: StatusCode) {
        if status.is_server_error() {
            if self.outages.begin(registry.clone()) {
                tracing::warn!(%registry, %status, "the registry fails");
            }
        } else if let Some(lasted_ms) = self.outages.end(registry) {
            tracing::info!(%registry, lasted_ms, "the registry responds again");
        }
    }
}
