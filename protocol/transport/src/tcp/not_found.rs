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
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};

const BODY: &str = "404 page not found\n";

/// The requests of one connection that are being answered so.
#[derive(Debug, Default)]
pub(super) struct Answers(Arc<()>);

impl Answers {
    /// Answers a request when its body has ended, or not at all if its connection ends first. `None` is a body that
    /// was read.
    pub(super) fn answer(&self, body: Option<RecvStream>, respond: SendResponse<Bytes>) {
        let open = Arc::clone(&self.0);
        tokio::spawn(async move {
            answer(body, respond).await;
            drop(open);
        });
    }

    /// Requests that are not answered yet.
    pub(super) fn open(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
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
