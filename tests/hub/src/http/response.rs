//! Responses in the formats of the real services: the registry's JSON errors, the CDN's XML, plain text.
//! Must never decide anything.

use std::{future::Future, io};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

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

/// Sends the same bytes in chunks, without `Content-Length`.
pub(crate) fn without_length(body: Body) -> Body {
    let frames = stream::unfold(body, |mut body| async { body.frame().await.map(|frame| (frame, body)) });
    StreamBody::new(frames).boxed_unsync()
}
