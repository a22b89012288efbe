//! The response to a client's request: its head is checked, and a blob's body is still streaming.

use super::blob_source::BlobSource;
use super::page_links;
use super::public_proof::PublicProof;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::{collect, collect_until};
use crate::upstream::http::redirect::{RedirectChain, UpstreamResponse};
use crate::upstream::http::small_response::SmallResponse;
use crate::upstream::layer_cache::{Download, Remote};
use bytes::Bytes;
use docxy_protocol::accept::essence;
use docxy_protocol::error_body;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::request::{Method, Operation};
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;

/// A response whose head has been received. Its body may still be streaming.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status, as the registry or CDN sent it.
    pub(crate) status: StatusCode,
    /// The header fields that go to the engine.
    pub(crate) headers: Headers,
    /// The body.
    pub(crate) body: ResponseBody,
    /// The proof that this manifest is public, if this response is one.
    pub(crate) public_proof: Option<PublicProof>,
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// No body (`HEAD`, 204, 304).
    None,
    /// A body that has been read whole: errors, tokens and manifests.
    Small(Bytes),
    /// A body that is still to be read from the hop that sends it.
    Stream(Box<Download>),
}

impl Response {
    /// Converts a hop's response to an operation. `source` resumes the body if it is interrupted.
    ///
    /// Tokens, manifests and errors are read here. An error that is not in the registry's error format
    /// is converted to it. All other bodies stay streaming.
    ///
    /// # Errors
    /// If it is a redirect, if the CDN refuses a blob's URL, if the next page of a listing is elsewhere, or the body of a token or manifest cannot
    /// be read.
    pub(crate) async fn new(
        UpstreamResponse { hop, response, .. }: UpstreamResponse,
        operation: &Operation,
        source: Option<BlobSource>,
    ) -> Result<Self, UpstreamError> {
        let (mut head, incoming) = response.into_parts();
        let is_listing = matches!(operation, Operation::Tags { .. } | Operation::Referrers { .. });
        if let Some(chain) = head.extensions.remove::<RedirectChain>()
            && is_listing
            && head.status.is_success()
        {
            page_links::resolve(hop, &mut head.headers, &chain)?;
        }
        let mut headers = Headers::filter_response(&head.headers);
        let status = head.status;
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            // All redirects that can be followed were followed. An engine would follow this one without
            // the server, and could send a posted password to it.
            return Err(UpstreamError::new(
                hop,
                FaultKind::RedirectRefused,
                format!("answers {status}, a redirect"),
            ));
        }
        let is_refused = matches!(status, StatusCode::FORBIDDEN | StatusCode::GONE);
        if hop == Hop::Cdn && is_refused && matches!(operation, Operation::Blob { .. }) {
            // The registry has made this URL for the request, so this says nothing about the image or the user.
            let kind = FaultKind::RetriesExhausted;
            return Err(UpstreamError::new(hop, kind, format!("answers {status}")));
        }
        let has_no_body = operation.method() == Method::Head
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let body = if has_no_body {
            ResponseBody::None
        } else if status.is_client_error()
            || status.is_server_error()
            || matches!(operation, Operation::Token(_) | Operation::Manifest { .. })
        {
            let body = if status.is_success() {
                // It was read already.
                collect_until(Instant::now(), MANIFEST_BYTES_MAX, hop, incoming).await?
            } else {
                // The status counts more than the body, so it is kept even if the body cannot be read.
                let original = collect(hop, incoming).await.unwrap_or_default();
                error_body(&mut headers, status, original, operation)
            };
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            ResponseBody::Small(body)
        } else {
            let remote = Remote::new(hop, status, &head.headers, incoming, source);
            ResponseBody::Stream(Box::new(Download::Remote(Box::new(remote))))
        };
        Ok(Self { status, headers, body, public_proof: None })
    }

    /// The response in a form that several requests can share. A blob's body is dropped.
    pub(crate) fn into_small(self) -> SmallResponse {
        let Self { status, headers, body, .. } = self;
        let body = match body {
            ResponseBody::Small(bytes) => bytes,
            ResponseBody::None | ResponseBody::Stream(_) => Bytes::new(),
        };
        SmallResponse { status, headers, body }
    }

    /// The response to a `HEAD` as an error response to a `GET`, which needs a body.
    pub(crate) fn into_error_with_body(self) -> SmallResponse {
        let Self { status, mut headers, .. } = self;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
        let body = error_body::from_upstream(status, b"", "MANIFEST_UNKNOWN");
        SmallResponse { status, headers, body: body.into() }
    }
}

/// The body of an error response, in the registry's error format.
fn error_body(headers: &mut Headers, status: StatusCode, original: Bytes, operation: &Operation) -> Bytes {
    let is_encoded = is_encoded(headers);
    let is_json =
        headers.get_str(&header::CONTENT_TYPE).is_some_and(|text| essence(text) == error_body::MEDIA_TYPE);
    if is_encoded && is_json && !original.is_empty() {
        // It is compressed because the engine accepts that. The engine can read it, the server cannot.
        return original;
    }
    let readable = if is_encoded { Bytes::new() } else { original };
    headers.remove(&header::CONTENT_ENCODING);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
    error_body::from_upstream(status, &readable, operation.unknown_code()).into()
}
