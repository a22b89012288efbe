//! Follows redirects on the server's side, because the client's network blocks the CDN.
//!
//! Must never send a credential to another origin (object stores respond 400 to it, and it is not for
//! them). A `HEAD` stays a `HEAD`. No signed URL is stored, because it expires.

use super::body::{Body, collect_until};
use super::client::HttpClient;
use super::retry::RetryDeadline;
use crate::upstream::error::UpstreamError;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::REDIRECTS_MAX;
use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

/// The response at the end of a redirect chain, and the hop that sent it.
pub(crate) struct UpstreamResponse<B = Body> {
    pub(in crate::upstream) hop: Hop,
    pub(in crate::upstream) response: http::Response<B>,
}

impl UpstreamResponse {
    /// The same response with its body read to the end, if its status is a success.
    ///
    /// # Errors
    /// If the body is interrupted, has not ended by `until`, or is larger than `max_bytes`.
    pub(in crate::upstream) async fn read_body(
        self,
        max_bytes: usize,
        until: Instant,
    ) -> Result<Self, UpstreamError> {
        if !self.response.status().is_success() {
            return Ok(self);
        }
        let (head, body) = self.response.into_parts();
        let body = Body::Whole(collect_until(until, max_bytes, self.hop, body).await?);
        Ok(Self { hop: self.hop, response: http::Response::from_parts(head, body) })
    }
}

/// Sends a request to `url` and follows redirects.
///
/// # Errors
/// If a hop cannot be reached or does not respond in time, or a redirect must not be followed.
pub(in crate::upstream) async fn follow_redirects(
    client: &HttpClient,
    method: &Method,
    mut url: Url,
    mut headers: HeaderMap,
    deadline: RetryDeadline,
) -> Result<UpstreamResponse, UpstreamError> {
    let mut hop = Hop::Registry;
    for _ in 0..=REDIRECTS_MAX {
        let mut request = http::Request::new(http_body_util::Full::default());
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers.clone();
        let response = client.send(hop, &url, request, deadline.response_until()).await?;
        let Some(location) = redirect_location(&response) else {
            return Ok(UpstreamResponse { hop, response: response.map(Body::Streaming) });
        };
        let next = location.to_str().ok().and_then(|location| url.join(location).ok()).ok_or_else(|| {
            UpstreamError::new(hop, FaultKind::MalformedResponse, "a redirect to something that is no URL")
        })?;
        if next.origin() != url.origin() {
            headers.remove(header::AUTHORIZATION);
            hop = Hop::Cdn;
        }
        url = next;
    }
    Err(UpstreamError::new(hop, FaultKind::RedirectRefused, format!("more than {REDIRECTS_MAX} redirects")))
}

fn redirect_location(response: &http::Response<Incoming>) -> Option<&http::HeaderValue> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    response.headers().get(header::LOCATION).filter(|_| is_redirect)
}
