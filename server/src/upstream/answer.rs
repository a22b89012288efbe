//! A registry's answer on its way to the tunnel: checked, but not collected.

use super::blob_source::BlobSource;
use super::body::{Body, collect, collect_up_to};
use super::download::Download;
use bytes::Bytes;
use docxy_protocol::error_body;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::request::{Method, Operation};
use http::{HeaderValue, StatusCode, header};

/// An answer whose head is known and whose body may still be on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status, as the registry or CDN sent it.
    pub(crate) status: StatusCode,
    /// The header fields that go to the engine.
    pub(crate) headers: Headers,
    /// What follows.
    pub(crate) body: AnswerBody,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// There is none (`HEAD`, 204, 304).
    None,
    /// Read already: errors, tokens and manifests.
    Small(Bytes),
    /// To be read from the hop that sends it.
    Stream(Box<Download<BlobSource>>),
}

impl Answer {
    /// Takes over what a hop answered to an operation. `rest` is where to go on if its body breaks.
    ///
    /// Tokens, manifests and errors are read here, and errors put into the registry's format where they
    /// are in none; everything else is left to flow.
    ///
    /// # Errors
    /// Where an error's body cannot be read.
    pub(super) async fn of(
        hop: Hop,
        operation: &Operation,
        response: http::Response<Body>,
        rest: Option<BlobSource>,
    ) -> Result<Self, Fault> {
        let (head, incoming) = response.into_parts();
        let mut headers = Headers::filter_response(&head.headers);
        let status = head.status;
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            // Whatever can be followed was followed by now. An engine would follow it past us, a
            // posted password in hand.
            return Err(Fault::new(hop, FaultKind::RedirectRefused, format!("answers {status}, a redirect")));
        }
        let bodiless = operation.method() == Method::Head
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let body = if bodiless {
            AnswerBody::None
        } else if status.is_client_error()
            || status.is_server_error()
            || matches!(operation, Operation::Token(_) | Operation::Manifest { .. })
        {
            let body = if status.is_success() {
                collect_up_to(MANIFEST_MAX, hop, incoming).await?
            } else {
                // The status is what counts: it stays, also where the body cannot be read.
                let original = collect(hop, incoming).await.unwrap_or_default();
                error_body_of(&mut headers, status, original, operation)
            };
            headers.set(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            AnswerBody::Small(body)
        } else {
            AnswerBody::Stream(Box::new(match rest {
                Some(source) => Download::continued(hop, status, &head.headers, incoming, source),
                None => Download::once(hop, incoming),
            }))
        };
        Ok(Self { status, headers, body })
    }
}

/// The body that tells an engine of an upstream error.
fn error_body_of(headers: &mut Headers, status: StatusCode, original: Bytes, operation: &Operation) -> Bytes {
    let encoded =
        headers.get_str(&header::CONTENT_ENCODING).is_some_and(|e| !e.eq_ignore_ascii_case("identity"));
    let json = headers.get_str(&header::CONTENT_TYPE).is_some_and(|t| t.starts_with(error_body::MEDIA_TYPE));
    if encoded && json && !original.is_empty() {
        // Compressed because the engine asked for it; it can read what we cannot.
        return original;
    }
    let readable = if encoded { Bytes::new() } else { original };
    headers.remove(&header::CONTENT_ENCODING);
    headers.set(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
    error_body::from_upstream(status, &readable, operation.unknown_code()).into()
}
