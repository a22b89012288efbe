//! Follows redirects on the server's side, because the client's network blocks the CDN.
//!
//! Must never send a credential to another origin (object stores respond 400 to it, and it is not for
//! them). A `HEAD` stays a `HEAD`. No signed URL is stored, because it expires.

use super::body::{Body, collect_up_to};
use super::client::HttpClient;
use super::target::Target;
use crate::upstream::error::UpstreamError;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{REDIRECTS_MAX, UPSTREAM_HEADER_TIMEOUT};
use docxy_protocol::uri::HttpUri;
use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;

/// The response at the end of a redirect chain, and the hop that sent it.
pub(crate) struct UpstreamResponse<B = Body> {
    pub(in crate::upstream) hop: Hop,
    pub(in crate::upstream) response: http::Response<B>,
}

impl UpstreamResponse {
    /// The same response with its body read to the end, if its status is a success.
    ///
    /// # Errors
    /// If the body is interrupted, or is larger than `max_bytes`.
    pub(in crate::upstream) async fn read_body(self, max_bytes: usize) -> Result<Self, UpstreamError> {
        if !self.response.status().is_success() {
            return Ok(self);
        }
        let (head, body) = self.response.into_parts();
        let body = Body::Whole(collect_up_to(max_bytes, self.hop, body).await?);
        Ok(Self { hop: self.hop, response: http::Response::from_parts(head, body) })
    }
}

/// From where to where redirects have led, as an extension of a response.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct RedirectChain {
    pub(in crate::upstream) requested: HttpUri,
    pub(in crate::upstream) responded: HttpUri,
}

/// Sends a request to `target` and follows redirects.
///
/// # Errors
/// If a hop cannot be reached, or a redirect must not be followed.
pub(in crate::upstream) async fn follow_redirects(
    client: &HttpClient,
    method: &Method,
    mut target: Target,
    mut headers: HeaderMap,
) -> Result<UpstreamResponse, UpstreamError> {
    let mut hop = Hop::Registry;
    let requested = target.as_written().clone();
    for _ in 0..=REDIRECTS_MAX {
        let mut request = http::Request::new(http_body_util::Full::default());
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers.clone();
        let mut response = client.send(hop, &target, request, UPSTREAM_HEADER_TIMEOUT).await?;
        let Some(location) = redirect_location(&response) else {
            let responded = target.as_written().clone();
            response.extensions_mut().insert(RedirectChain { requested, responded });
            return Ok(UpstreamResponse { hop, response: response.map(Body::Streaming) });
        };
        let next = target.resolve(hop, location.as_bytes())?;
        if next.origin().origin() != target.origin().origin() {
            headers.remove(header::AUTHORIZATION);
            hop = Hop::Cdn;
        }
        target = next;
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
