//! Sends one request to its registry and returns the checked response, with the means to resume a blob.

use super::blob::source::BlobSource;
use super::http::redirect::UpstreamResponse;
use super::http::retry::RetryDeadline;
use super::registry::UpstreamRegistry;
use super::response::Response;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::AUTH_PROBE_TIMEOUT;
use docxy_protocol::request::{Method, Operation, Request};
use std::sync::Arc;

/// Does one operation at a registry.
///
/// # Errors
/// If a hop fails. What the registry refuses is a response.
pub(super) async fn respond(registry: &Arc<UpstreamRegistry>, request: &Request) -> Result<Response, Fault> {
    let hop = match request.operation {
        Operation::Ping => Hop::Registry,
        Operation::Token(_) => Hop::Auth,
        _ => return send(registry, request).await,
    };
    // Engines have short timeouts for these, so the fault that names the slow hop has to come earlier.
    let in_time = tokio::time::timeout(AUTH_PROBE_TIMEOUT, send(registry, request)).await;
    in_time.unwrap_or_else(|_| {
        let seconds = AUTH_PROBE_TIMEOUT.as_secs();
        Err(Fault::new(
            hop,
            FaultKind::TimedOut,
            format!("{} did not answer within {seconds} s", request.registry),
        ))
    })
}

async fn send(registry: &Arc<UpstreamRegistry>, request: &Request) -> Result<Response, Fault> {
    let deadline = RetryDeadline::starting_at(tokio::time::Instant::now());
    let UpstreamResponse { hop, response } = registry.send(request, deadline).await?;
    let source = matches!(request.operation, Operation::Blob { method: Method::Get, .. })
        .then(|| BlobSource::new(Arc::clone(registry), request.clone()));
    Response::new(hop, &request.operation, response, source).await
}
