//! A small response that has been read whole, so that several requests can share it.

use super::body::{Body, collect};
use super::redirect::UpstreamResponse;
use bytes::Bytes;
use docxy_protocol::fault::Hop;
use docxy_protocol::headers::Headers;
use http::StatusCode;

/// A small response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmallResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

impl SmallResponse {
    /// Reads a response. If its body cannot be read, the status still counts and the body is empty.
    pub(crate) async fn read(hop: Hop, response: http::Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = collect(hop, body).await.unwrap_or_default();
        Self { status: head.status, headers: Headers::filter_response(&head.headers), body }
    }

    /// The response as if this hop had just sent it.
    pub(crate) fn into_upstream_response(self, hop: Hop) -> UpstreamResponse {
        let mut response = http::Response::new(Body::Whole(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.into();
        UpstreamResponse { hop, origin: None, response }
    }

    /// The approximate memory that it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.headers.size() + self.body.len()
    }
}
