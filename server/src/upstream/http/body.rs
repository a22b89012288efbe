//! Response bodies: read from their connection, or read whole if they are small.
//!
//! Must never forward part of a body that is read whole: if it is interrupted, the request can be sent again.

use super::request_fault::describe_error;
use crate::upstream::error::UpstreamError;
use bytes::Bytes;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{SMALL_BODY_BYTES_MAX, UPSTREAM_IDLE_TIMEOUT};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// It was read whole, once: collecting it again copies nothing.
    Whole(Bytes),
    /// It is read from its connection.
    Streaming(Incoming),
}

/// Reads a small body to its end.
pub(in crate::upstream) async fn collect(hop: Hop, body: Body) -> Result<Bytes, UpstreamError> {
    collect_up_to(SMALL_BODY_BYTES_MAX, hop, body).await
}

/// Reads a body of at most `max_bytes` to its end.
pub(in crate::upstream) async fn collect_up_to(
    max_bytes: usize,
    hop: Hop,
    body: Body,
) -> Result<Bytes, UpstreamError> {
    let body = match body {
        Body::Whole(bytes) => return Ok(bytes),
        Body::Streaming(body) => Limited::new(body, max_bytes).collect(),
    };
    let truncated =
        |detail| UpstreamError::new(hop, FaultKind::Truncated, format!("the body was interrupted: {detail}"));
    match tokio::time::timeout(UPSTREAM_IDLE_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(UpstreamError::new(
            hop,
            FaultKind::TooLarge,
            format!("the body is larger than docxy's limit for it, which is {max_bytes} bytes"),
        )),
        Ok(Err(error)) => Err(truncated(describe_error(&*error)).caused_by(error)),
        Err(_) => Err(truncated(format!("it did not end within {} s", UPSTREAM_IDLE_TIMEOUT.as_secs()))),
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
