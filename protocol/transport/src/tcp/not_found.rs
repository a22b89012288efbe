//! What a peer sees that is no client of this server: a web server that has nothing, in HTTP/2 and HTTP/1.1.
//!
//! Must never answer before a request has ended: a Hello is recognized at its end too, and nothing tells them apart.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};

const BODY: &str = "404 page not found\n";

/// Answers a request when its body has ended, or not at all if its connection ends first.
pub(super) fn answer_in_background(body: RecvStream, respond: SendResponse<Bytes>) {
    answer_unread_in_background(Some(body), respond);
}

/// The same, if the body has not ended yet.
pub(super) fn answer_unread_in_background(body: Option<RecvStream>, respond: SendResponse<Bytes>) {
    // It ends with the connection, which bounds the number of its streams.
    tokio::spawn(answer(body, respond));
}

async fn answer(body: Option<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<()> {
    if let Some(mut body) = body {
        while let Some(bytes) = body.data().await {
            body.flow_control().release_capacity(bytes.ok()?.len()).ok()?;
        }
    }
    let mut response = response();
    let date = httpdate::fmt_http_date(SystemTime::now());
    response.headers_mut().insert(DATE, HeaderValue::try_from(date).ok()?);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(BODY.len()));
    let mut stream = respond.send_response(response, false).ok()?;
    stream.send_data(Bytes::from_static(BODY.as_bytes()), true).ok()
}

/// Serves HTTP/1.1 until the connection ends.
pub(super) async fn serve_http1(connection: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = |request: Request<Incoming>| async {
        // A body that breaks off ends the connection.
        let _ = request.into_body().collect().await;
        Ok::<_, Infallible>(response().map(|()| Full::new(Bytes::from_static(BODY.as_bytes()))))
    };
    let mut http1 = hyper::server::conn::http1::Builder::new();
    let serving =
        http1.timer(TokioTimer::new()).serve_connection(TokioIo::new(connection), service_fn(answer));
    if let Err(error) = serving.await {
        tracing::debug!(%error, "an HTTP/1.1 connection failed");
    }
}

fn response() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
