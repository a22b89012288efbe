//! Asks one neighbour for a blob, and receives it.
//!
//! Must never take what arrives for the blob: only its digest shows that. Follows no redirect, and sends nothing but the
//! digest.

use super::share::blob_path;
use bytes::Bytes;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::limits::{FIELD_LINES_MAX, FRAME_BYTES_MAX};
use docxy_protocol::name::Digest;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long a neighbour may let this client wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For its answer.
    pub(crate) answer: Duration,
    /// For its next bytes.
    pub(crate) silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { answer: Duration::from_millis(100), silence: Duration::from_secs(1) }
    }
}

/// A neighbour does not bring a blob.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("it did not answer in time")]
    NoAnswer,
    #[error("it stopped sending")]
    Silent,
    #[error("it cannot be reached: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("it has something else of this digest")]
    OtherBytes,
    #[error("the tunnel is faster than its {0} bytes per second")]
    Slow(u64),
}

/// A blob, or the rest of one, that a neighbour sends.
pub(crate) struct Download {
    body: Incoming,
    silence: Duration,
    _connection: AbortOnDropHandle<()>,
}

impl Download {
    /// Requests these bytes, to its end, of a blob.
    pub(super) async fn begin(
        address: SocketAddr,
        digest: &Digest,
        bytes: Range<u64>,
        timeouts: Timeouts,
    ) -> Result<Self, DownloadError> {
        let (response, _connection) = ask(address, Method::GET, digest, bytes.start, timeouts.answer).await?;
        let (head, body) = response.into_parts();
        let length = body.size_hint().exact();
        match ContentRange::of_response(head.status, &head.headers, length) {
            Some(range) if *range.bytes() == bytes => {
                Ok(Self { body, silence: timeouts.silence, _connection })
            }
            _ => Err(DownloadError::OtherBytes),
        }
    }

    /// The next bytes. `None` at the end, which comes when as many have come as were requested.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, DownloadError> {
        loop {
            let frame = timeout(self.silence, self.body.frame()).await.map_err(|_| DownloadError::Silent)?;
            match frame.transpose()?.map(http_body::Frame::into_data) {
                None => return Ok(None),
                Some(Ok(bytes)) if !bytes.is_empty() => return Ok(Some(bytes)),
                Some(_) => {}
            }
        }
    }
}

/// Whether the neighbour has the blob of this size.
pub(super) async fn has(
    address: SocketAddr,
    digest: &Digest,
    size: u64,
    timeouts: Timeouts,
) -> Result<(), DownloadError> {
    let (response, _connection) = ask(address, Method::HEAD, digest, 0, timeouts.answer).await?;
    match content_length(&response) {
        Some(length) if length == size => Ok(()),
        _ => Err(DownloadError::OtherBytes),
    }
}

/// That of a response to a `HEAD`, whose body is empty.
fn content_length(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Sends a request for a blob from this position on, and waits for the head of a good response.
async fn ask(
    address: SocketAddr,
    method: Method,
    digest: &Digest,
    start: u64,
    answer: Duration,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), DownloadError> {
    let asked = async {
        let stream = TcpStream::connect(address).await.map_err(DownloadError::Connect)?;
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(FRAME_BYTES_MAX)
            .max_headers(FIELD_LINES_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = blob_path(digest);
        request.headers_mut().insert(header::HOST, header_value(&address.to_string()));
        if start > 0 {
            request.headers_mut().insert(header::RANGE, header_value(&format!("bytes={start}-")));
        }
        Ok::<_, DownloadError>((sender.send_request(request).await?, connection))
    };
    let (response, connection) = timeout(answer, asked).await.map_err(|_| DownloadError::NoAnswer)??;
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok((response, connection)),
        other => Err(DownloadError::Refused(other)),
    }
}

fn header_value(text: &str) -> http::HeaderValue {
    text.parse().expect("digits, letters and punctuation are a valid value")
}
