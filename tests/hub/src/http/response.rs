//! Responses in the formats of the real services: the registry's JSON errors, the CDN's XML, plain text.
//! Must never decide anything.

use std::{future::Future, io, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

/// Pieces of a body that trickles.
const PIECES: usize = 100;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A response with a body of known length.
pub(crate) fn with_body(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body: Bytes = body.into();
    let mut response = Response::new(full(body.clone()));
    *response.status_mut() = status;
    set_header(&mut response, header::CONTENT_TYPE.as_str(), content_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

pub(crate) fn json(status: StatusCode, document: &Value) -> Response<Body> {
    with_body(status, "application/json", document.to_string())
}

/// An error in the format of the distribution specification.
pub(crate) fn error(status: StatusCode, code: &str, message: &str, detail: Value) -> Response<Body> {
    json(status, &json!({ "errors": [{ "code": code, "message": message, "detail": detail }] }))
}

/// An error in the format of an object store.
pub(crate) fn xml_error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    with_body(status, "application/xml", body)
}

pub(crate) fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    with_body(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

pub(crate) fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// Sets a field whose value is made by this crate; a value that is not valid in HTTP is left out.
pub(crate) fn set_header(response: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Sends half of a body, waits for `silence`, and fails.
pub(crate) fn truncated(body: Body, silence: impl Future<Output = ()> + Send + 'static) -> Body {
    let half = async move {
        let bytes = body.collect().await?.to_bytes();
        Ok(Frame::data(bytes.slice(..bytes.len() / 2)))
    };
    let end = async move {
        silence.await;
        // An error discards the connection's buffer, so let it be flushed first.
        tokio::task::yield_now().await;
        Err(io::ErrorKind::ConnectionAborted.into())
    };
    StreamBody::new(stream::once(half).chain(stream::once(end))).boxed_unsync()
}

/// Sends the same bytes in [`PIECES`] pieces, evenly over this time, with their `Content-Length`.
pub(crate) fn trickled(response: Response<Body>, time: Duration) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    let pieces = stream::once(async move { Ok::<_, io::Error>(body.collect().await?.to_bytes()) });
    let pieces = pieces.flat_map(move |bytes| {
        let bytes = bytes.unwrap_or_default();
        let size = bytes.len().div_ceil(PIECES).max(1);
        let starts: Vec<usize> = (0..bytes.len()).step_by(size).collect();
        stream::iter(starts).then(move |start| {
            let piece = bytes.slice(start..bytes.len().min(start + size));
            async move {
                tokio::time::sleep(time / PIECES as u32).await;
                Ok(Frame::data(piece))
            }
        })
    });
    Response::from_parts(head, StreamBody::new(pieces).boxed_unsync())
}

/// Sends the same bytes in chunks, without `Content-Length`.
pub(crate) fn without_length(body: Body) -> Body {
    let frames = stream::unfold(body, |mut body| async { body.frame().await.map(|frame| (frame, body)) });
    StreamBody::new(frames).boxed_unsync()
}
