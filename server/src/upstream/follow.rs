//! Redirects, followed on this side: the CDN is what is blocked on the other.
//!
//! A credential never follows to another host (object stores answer 400 to it, and it is none of
//! their business), and a `HEAD` stays a `HEAD`. Nothing of a signed URL is kept: it expires.

use super::body::{self, Body};
use super::origin::Origin;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{REDIRECTS_MAX, UPSTREAM_HEADER_TIMEOUT};
use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use url::Url;

/// The answer at the end of the chain, and which hop gave it.
pub(crate) struct Followed<B = Body> {
    pub(super) hop: Hop,
    pub(super) response: http::Response<B>,
}

/// Asks `url`, and wherever that leads.
///
/// # Errors
/// Where a hop cannot be reached, or a redirect must not be followed.
pub(super) async fn follow(
    origin: &Origin,
    method: &Method,
    mut url: Url,
    mut headers: HeaderMap,
) -> Result<Followed, Fault> {
    let mut hop = Hop::Registry;
    for _ in 0..=REDIRECTS_MAX {
        let mut request = http::Request::new(http_body_util::Full::default());
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers.clone();
        let response = origin.send(hop, &url, request, UPSTREAM_HEADER_TIMEOUT).await?;
        let Some(location) = redirect(&response) else {
            return Ok(Followed { hop, response: response.map(body::on_its_way) });
        };
        let next = location.to_str().ok().and_then(|location| url.join(location).ok()).ok_or_else(|| {
            Fault::new(hop, FaultKind::MalformedResponse, "a redirect to something that is no URL")
        })?;
        if next.origin() != url.origin() {
            headers.remove(header::AUTHORIZATION);
            hop = Hop::Cdn;
        }
        url = next;
    }
    Err(Fault::new(hop, FaultKind::RedirectRefused, format!("more than {REDIRECTS_MAX} redirects")))
}

fn redirect(response: &http::Response<Incoming>) -> Option<&http::HeaderValue> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    response.headers().get(header::LOCATION).filter(|_| redirects)
}
