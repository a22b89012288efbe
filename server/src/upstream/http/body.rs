//! Response bodies: read from their connection, or read whole if they are small.
//!
//! Must never forward part of a body that is read whole: if it is interrupted, the request can be sent again.

use super::request_fault::describe_error;
use crate::upstream::error::UpstreamError;
use bytes::{Bytes, BytesMut};
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{SMALL_BODY_BYTES_MAX, UPSTREAM_IDLE_TIMEOUT};
use docxy_protocol::text::clean;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Instant;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// It was read whole, once: collecting it again copies nothing.
    Whole(Bytes),
    /// It is read from its connection.
    Streaming(Incoming),
}

/// Reads a small body to its end. It usually arrives together with its head.
pub(crate) async fn collect(hop: Hop, body: Body) -> Result<Bytes, UpstreamError> {
    collect_until(Instant::now() + UPSTREAM_IDLE_TIMEOUT, SMALL_BODY_BYTES_MAX, hop, body).await
}

/// Reads a body of at most `max_bytes` to its end, which must arrive by `until`. A body that is silent for
/// [`UPSTREAM_IDLE_TIMEOUT`] is interrupted before.
pub(crate) async fn collect_until(
    until: Instant,
    max_bytes: usize,
    hop: Hop,
    body: Body,
) -> Result<Bytes, UpstreamError> {
    let mut body = match body {
        Body::Whole(bytes) => return Ok(bytes),
        Body::Streaming(body) => body,
    };
    let started = Instant::now();
    let mut all = BytesMut::new();
    loop {
        let next = tokio::time::timeout_at(until, next_data(hop, &mut body)).await.unwrap_or_else(|_| {
            let detail = format!("it did not end within {} s", started.elapsed().as_secs());
            Err(UpstreamError::new(hop, FaultKind::TimedOut, detail))
        });
        let next = next.map_err(|mut error| {
            error.fault.detail = clean(format!("the body was interrupted: {}", error.fault.detail));
            error
        });
        let Some(data) = next? else { return Ok(all.freeze()) };
        if all.len() + data.len() > max_bytes {
            let detail = format!("the body is larger than docxy's limit for it, which is {max_bytes} bytes");
            return Err(UpstreamError::new(hop, FaultKind::TooLarge, detail));
        }
        all.extend_from_slice(&data);
    }
}

/// The next bytes of a body, `None` at its end.
///
/// # Errors
/// If its connection breaks, or is silent for [`UPSTREAM_IDLE_TIMEOUT`].
pub(crate) async fn next_data<B>(hop: Hop, body: &mut B) -> Result<Option<Bytes>, UpstreamError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    loop {
        let frame = tokio::time::timeout(UPSTREAM_IDLE_TIMEOUT, body.frame()).await.map_err(|_| {
            let detail = format!("no byte of the body for {} s", UPSTREAM_IDLE_TIMEOUT.as_secs());
            UpstreamError::new(hop, FaultKind::TimedOut, detail)
        })?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| {
            let error = error.into();
            UpstreamError::new(hop, FaultKind::Truncated, describe_error(&*error)).caused_by(error)
        })?;
        // Engines use no trailers.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streaming(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(body) => body.size_hint(),
        }
    }
}
