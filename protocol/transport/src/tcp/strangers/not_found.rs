//! What a peer sees that is no client of this server: a web server that has nothing, in HTTP/2 and HTTP/1.1.
//!
//! Must never answer before a request has ended, or at another time than [`ANSWER_DELAY`] after its beginning: what
//! this is instead of, the check of a Hello, ends at its end too, and takes a moment.

use super::refusal::Refusing;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

const BODY: &str = "404 page not found\n";

/// From a request's beginning to its answer, at least: longer than the check of a Hello, which waits for other threads,
/// takes on a busy machine.
const ANSWER_DELAY: Duration = Duration::from_millis(50);

/// Bytes of an HTTP/1.1 head, at most. hyper's default is 400 KiB, which a peer may send byte by byte.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The answer to HTTP without TLS.
const PLAIN: &str = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// How the first bytes of such a request begin.
const METHODS: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];

/// The requests of one connection that are being answered so.
#[derive(Debug, Default)]
pub(in crate::tcp) struct Answers(Arc<()>);

impl Answers {
    /// Answers a request when its body has ended, or not at all if its connection ends first.
    pub(in crate::tcp) fn answer(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let content = if request.method() == Method::HEAD { "" } else { BODY };
        self.spawn(answer(Instant::now(), Some(request.into_body()), respond, content));
    }

    /// The same for one that began then, and was no Hello. `None` is a body that was read.
    pub(in crate::tcp) fn answer_refused(
        &self,
        begun: Instant,
        body: Option<RecvStream>,
        respond: SendResponse<Bytes>,
    ) {
        self.spawn(answer(begun, body, respond, BODY));
    }

    fn spawn(&self, answer: impl Future<Output = Option<()>> + Send + 'static) {
        let open = Arc::clone(&self.0);
        tokio::spawn(async move {
            answer.await;
            drop(open);
        });
    }

    /// Requests that are not answered yet.
    pub(in crate::tcp) fn open(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

async fn answer(
    begun: Instant,
    body: Option<RecvStream>,
    mut respond: SendResponse<Bytes>,
    content: &'static str,
) -> Option<()> {
    if let Some(mut body) = body {
        while let Some(bytes) = body.data().await {
            body.flow_control().release_capacity(bytes.ok()?.len()).ok()?;
        }
    }
    sleep_until(begun + ANSWER_DELAY).await;
    let mut response = not_found();
    let date = httpdate::fmt_http_date(SystemTime::now());
    response.headers_mut().insert(DATE, HeaderValue::try_from(date).ok()?);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(BODY.len()));
    let mut stream = respond.send_response(response, content.is_empty()).ok()?;
    if content.is_empty() {
        Some(())
    } else {
        stream.send_data(Bytes::from_static(content.as_bytes()), true).ok()
    }
}

/// Answers a peer whose first bytes are HTTP without TLS, as web servers do. Whether it was one.
pub(in crate::tcp) async fn answer_plain_http(stream: &mut TcpStream) -> bool {
    let mut head = [0; 5];
    let is_http = stream.peek(&mut head).await.is_ok() && METHODS.contains(&&head[..]);
    if is_http {
        // An error means that the peer has gone. What is not read would reset the connection before the answer is there.
        let _ = stream.read(&mut vec![0; HEAD_BYTES_MAX]).await;
        let _ = stream.write_all(PLAIN.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
    is_http
}

/// Serves HTTP/1.1 until the connection ends.
pub(in crate::tcp) async fn serve_http1(connection: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = |request: Request<Incoming>| async {
        let begun = Instant::now();
        if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
            // RFC 9112, section 3.2.
            return Ok(refusal().map(|()| Full::default()));
        }
        let mut body = request.into_body();
        // A body that breaks off ends the connection.
        while let Some(Ok(_)) = body.frame().await {}
        sleep_until(begun + ANSWER_DELAY).await;
        Ok::<_, Infallible>(not_found().map(|()| Full::new(Bytes::from_static(BODY.as_bytes()))))
    };
    let mut http1 = hyper::server::conn::http1::Builder::new();
    let mut connection = Refusing::new(connection);
    let serving = http1
        .max_buf_size(HEAD_BYTES_MAX)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(&mut connection), service_fn(answer));
    let served = serving.await;
    let ended = connection.end(served.as_ref().is_err_and(hyper::Error::is_parse)).await;
    if let Err(error) = served.map_err(io::Error::other).and(ended) {
        tracing::debug!(%error, "an HTTP/1.1 connection failed");
    }
}

/// A response that [`Refusing`] replaces.
fn refusal() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn not_found() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
