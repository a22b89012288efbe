//! Response bodies: read from their connection, or read whole if they are small.
//!
//! Must never forward part of a body that is read whole: if it is interrupted, the request can be sent again.

use super::request_fault::describe_error;
use crate::upstream::error::UpstreamError;
use bytes::{Bytes, BytesMut};
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{SMALL_BODY_BYTES_MAX, UPSTREAM_IDLE_TIMEOUT};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// It was read whole, once: collecting it again copies nothing.
    Whole(Bytes),
    /// It is read from its connection.
    Streaming(Incoming),
}

/// Reads a small body to its end. It usually arrives together with its head.
pub(in crate::upstream) async fn collect(hop: Hop, body: Body) -> Result<Bytes, UpstreamError> {
    collect_until(Instant::now() + UPSTREAM_IDLE_TIMEOUT, SMALL_BODY_BYTES_MAX, hop, body).await
}

/// Reads a body of at most `max_bytes` to its end, which must arrive by `until`. A body that is silent for
/// [`UPSTREAM_IDLE_TIMEOUT`] is interrupted before.
pub(in crate::upstream) async fn collect_until(
    until: Instant,
    max_bytes: usize,
    hop: Hop,
    body: Body,
) -> Result<Bytes, UpstreamError> {
    let mut body = match body {
        Body::Whole(bytes) => return Ok(bytes),
        Body::Streaming(body) => body,
    };
    let interrupted =
        |kind, detail: String| UpstreamError::new(hop, kind, format!("the body was interrupted: {detail}"));
    let started = Instant::now();
    let mut all = BytesMut::new();
    loop {
        let silent_from = Instant::now() + UPSTREAM_IDLE_TIMEOUT;
        match tokio::time::timeout_at(until.min(silent_from), body.frame()).await {
            Ok(None) => return Ok(all.freeze()),
            Ok(Some(Ok(frame))) => {
                // Engines use no trailers.
                let Ok(data) = frame.into_data() else { continue };
                if all.len() + data.len() > max_bytes {
                    let detail =
                        format!("the body is larger than docxy's limit for it, which is {max_bytes} bytes");
                    return Err(UpstreamError::new(hop, FaultKind::TooLarge, detail));
                }
                all.extend_from_slice(&data);
            }
            Ok(Some(Err(error))) => {
                return Err(interrupted(FaultKind::Truncated, describe_error(&error)).caused_by(error));
            }
            Err(_) if silent_from <= until => {
                let detail = format!("no byte of it for {} s", UPSTREAM_IDLE_TIMEOUT.as_secs());
                return Err(interrupted(FaultKind::TimedOut, detail));
            }
            Err(_) => {
                let detail = format!("it did not end within {} s", started.elapsed().as_secs());
                return Err(interrupted(FaultKind::TimedOut, detail));
            }
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
