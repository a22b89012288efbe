//! Requests the rest of a blob from its registry, with the first request's credential.

use super::download::RangeSource;
use crate::upstream::http::body::Body;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::registry::UpstreamRegistry;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;

/// A blob at a registry.
#[derive(Debug)]
pub(crate) struct BlobSource {
    registry: Arc<UpstreamRegistry>,
    request: Request,
}

impl BlobSource {
    /// The blob that `request` is about.
    pub(in crate::upstream) fn new(registry: Arc<UpstreamRegistry>, mut request: Request) -> Self {
        // The first response was already subject to these conditions, and its body is not compressed.
        request.headers.remove_conditional_fields();
        request.headers.set(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Self { registry, request }
    }
}

impl RangeSource for BlobSource {
    type Body = Body;

    async fn fetch_range(&self, range: HeaderValue) -> Result<UpstreamResponse, Fault> {
        let mut request = self.request.clone();
        request.headers.set(header::RANGE, range);
        let response = self.registry.send_once(&request).await?;
        // The registry layer has already replaced a token of the server's own.
        let is_users = request.authorization != Authorization::Public;
        if response.hop == Hop::Registry && response.response.status() == StatusCode::UNAUTHORIZED && is_users
        {
            let detail = "the credential of this transfer has expired in the middle of it";
            return Err(Fault::new(Hop::Registry, FaultKind::CredentialExpired, detail));
        }
        Ok(response)
    }
}
