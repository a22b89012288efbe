//! Sends one request to its registry and returns the checked response, with the means to resume a blob.

use super::authorized_registry::AuthorizedRegistry;
use super::blob_source::BlobSource;
use super::response::Response;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::retry::RetryDeadline;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::PING_AND_TOKEN_TIMEOUT;
use docxy_protocol::request::{Method, Operation, Request};
use std::sync::Arc;

/// Does one operation at a registry. The head of its response arrives by the deadline.
///
/// # Errors
/// If a hop fails. An error status of the registry is a response, not an error.
pub(crate) async fn respond(
    registry: &Arc<AuthorizedRegistry>,
    request: &Request,
    deadline: RetryDeadline,
) -> Result<Response, UpstreamError> {
    let hop = match request.operation {
        Operation::Ping => Hop::Registry,
        Operation::Token(_) => Hop::TokenService,
        _ => return send(registry, request, deadline).await,
    };
    // Engines have short timeouts for these, so the fault that names the slow hop has to come earlier.
    let in_time = tokio::time::timeout(PING_AND_TOKEN_TIMEOUT, send(registry, request, deadline)).await;
    in_time.unwrap_or_else(|_| {
        let seconds = PING_AND_TOKEN_TIMEOUT.as_secs();
        Err(UpstreamError::new(
            hop,
            FaultKind::TimedOut,
            format!("{} did not answer within {seconds} s", request.registry),
        ))
    })
}

async fn send(
    registry: &Arc<AuthorizedRegistry>,
    request: &Request,
    deadline: RetryDeadline,
) -> Result<Response, UpstreamError> {
    let response = registry.send(request, deadline).await?;
    let source = matches!(request.operation, Operation::Blob { method: Method::Get, .. })
        .then(|| BlobSource::new(Arc::clone(registry), request.clone()));
    Response::new(response, &request.operation, source).await
}
