//! Follows redirects on the server's side, because the client's network blocks the CDN.
//!
//! Must never send a credential to another origin (object stores respond 400 to it, and it is not for
//! them), nor change the method. No signed URL is stored, because it expires.

use super::body::{Body, collect, collect_until};
use super::client::{HttpClient, sensitive_header};
use super::credentials::Credentials;
use super::target::Target;
use crate::upstream::error::UpstreamError;
use bytes::Bytes;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::REDIRECTS_MAX;
use docxy_protocol::uri::HttpUri;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Origin;

/// The response at the end of a redirect chain, and the hop that sent it.
pub(crate) struct UpstreamResponse<B = Body> {
    pub(crate) hop: Hop,
    /// The host that sent it, with its scheme and port. `None` if the server made the response itself.
    pub(crate) origin: Option<Origin>,
    pub(crate) response: http::Response<B>,
}

impl UpstreamResponse {
    /// The same response with its body read to the end, if its status is a success.
    ///
    /// # Errors
    /// If the body is interrupted, has not ended by `until`, or is larger than `max_bytes`.
    pub(crate) async fn read_body(self, max_bytes: usize, until: Instant) -> Result<Self, UpstreamError> {
        if !self.response.status().is_success() {
            return Ok(self);
        }
        let (head, body) = self.response.into_parts();
        let body = Body::Whole(collect_until(until, max_bytes, self.hop, body).await?);
        Ok(Self { response: http::Response::from_parts(head, body), ..self })
    }

    /// The same error response with its body read to the end. The status counts more than the body, which is empty
    /// if it cannot be read.
    pub(crate) async fn read_error(self) -> Self {
        let (head, body) = self.response.into_parts();
        let body = Body::Whole(collect(self.hop, body).await.unwrap_or_default());
        Self { response: http::Response::from_parts(head, body), ..self }
    }
}

/// From where to where redirects have led, as an extension of a response.
#[derive(Debug, Clone)]
pub(crate) struct RedirectChain {
    pub(crate) requested: HttpUri,
    pub(crate) responded: HttpUri,
}

/// A request, as it is sent to each host of a redirect chain.
#[derive(Debug, Clone)]
pub(crate) struct ChainRequest {
    /// The hop of its first host. A token service stays one; a registry redirects to its CDN.
    pub(crate) hop: Hop,
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// Without `Authorization`.
    pub(crate) headers: HeaderMap,
    /// A form with a credential, or nothing.
    pub(crate) body: Bytes,
}

impl ChainRequest {
    /// A `GET` without header fields.
    pub(crate) fn get(hop: Hop, target: Target) -> Self {
        Self { hop, method: Method::GET, target, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// Sends a request and follows redirects. A `POST` contains a credential, so its redirect to another origin is not
/// followed, and neither is one that would make it a `GET`: the redirect is the response.
///
/// # Errors
/// If a hop cannot be reached or has not responded by `until`, or a redirect must not be followed.
pub(crate) async fn follow_redirects(
    client: &HttpClient,
    request: ChainRequest,
    credentials: &Credentials,
    until: Instant,
) -> Result<UpstreamResponse, UpstreamError> {
    let ChainRequest { mut hop, method, mut target, headers, body } = request;
    let requested = target.as_written().clone();
    let mut has_left = false;
    for _ in 0..=REDIRECTS_MAX {
        let origin = target.origin().origin();
        let credential = credentials.value_for(&origin, has_left);
        let mut request = http::Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers.clone();
        if let Some(value) = credential {
            request.headers_mut().insert(header::AUTHORIZATION, sensitive_header(value)?);
        }
        let response = client.send(hop, &target, request, until).await?;
        let found = |hop, response: http::Response<Incoming>| {
            let mut response = response.map(Body::Streaming);
            let (requested, responded) = (requested.clone(), target.as_written().clone());
            response.extensions_mut().insert(RedirectChain { requested, responded });
            UpstreamResponse { hop, origin: Some(origin.clone()), response }
        };
        let Some(location) = redirect_location(&response) else {
            // A host that has a token, or wants one, is another registry.
            let is_registry = hop == Hop::Cdn && (credential.is_some() || wants_token(&response));
            return Ok(found(if is_registry { Hop::Registry } else { hop }, response));
        };
        let next = target.resolve(hop, location.as_bytes())?;
        let leaves = next.origin().origin() != origin;
        if method == Method::POST && (leaves || response.status() == StatusCode::SEE_OTHER) {
            return Ok(found(hop, response));
        }
        has_left |= leaves;
        if leaves && hop == Hop::Registry {
            hop = Hop::Cdn;
        }
        target = next;
    }
    Err(UpstreamError::new(hop, FaultKind::RedirectRefused, format!("more than {REDIRECTS_MAX} redirects")))
}

fn wants_token(response: &http::Response<Incoming>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
        && Challenge::of_response(response.headers()).any(|challenge| challenge.is_bearer())
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
