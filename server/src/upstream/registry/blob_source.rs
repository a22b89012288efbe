//! Requests the rest of a blob from its registry, with the first request's credential.

use super::authorized_registry::{AuthorizedRegistry, is_refusal};
use crate::upstream::blob::download::RangeSource;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::Body;
use crate::upstream::http::redirect::UpstreamResponse;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use http::{HeaderValue, header};
use std::sync::Arc;
use std::time::Duration;

/// A blob at a registry.
#[derive(Debug)]
pub(crate) struct BlobSource {
    registry: Arc<AuthorizedRegistry>,
    request: Request,
}

impl BlobSource {
    /// The blob that `request` is about.
    pub(crate) fn new(registry: Arc<AuthorizedRegistry>, mut request: Request) -> Self {
        // The first response was already subject to these conditions, and its body is not compressed.
        request.headers.remove_conditional_fields();
        request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Self { registry, request }
    }
}

impl RangeSource for BlobSource {
    type Body = Body;

    async fn fetch_range(
        &self,
        range: HeaderValue,
        timeout: Duration,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let mut request = self.request.clone();
        request.headers.insert(header::RANGE, range);
        let response = self.registry.send_once(&request, timeout).await?;
        // The registry layer has already replaced a token of the server's own. Registries answer 400, 401 or 403 to a
        // stale token.
        let is_users = request.authorization != Authorization::Public;
        let is_refused = is_refusal(response.response.status());
        if response.hop == Hop::Registry && is_refused && is_users {
            let detail = "the credential of this transfer has expired in the middle of it";
            return Err(UpstreamError::new(Hop::Registry, FaultKind::CredentialExpired, detail));
        }
        Ok(response)
    }

    fn count_retry(&self, fault: &Fault) {
        self.registry.counts().retried(fault);
    }
}
