//! An answer's body, pulled through the tunnel as fast as its reader takes it.
//!
//! It ends only where everything has come. A body that breaks, or is short by a byte, is an error,
//! and hyper then breaks the engine's connection. Dropping it stops the transfer at its source.

use super::pieces::Pieces;
use super::segments::{Segments, truncated};
use bytes::Bytes;
use docxy_protocol::fault::Fault;
use docxy_protocol::segment::Layout;
use futures_util::stream::{BoxStream, StreamExt as _, try_unfold};
use http_body::{Frame, SizeHint};
use quinn::RecvStream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;

/// A body under way.
pub struct TunnelBody {
    length: Option<u64>,
    chunks: BoxStream<'static, Result<Bytes, Fault>>,
    /// What the body broke off with, until hyper is told.
    broken: Option<Fault>,
    /// Its place among the requests under way, until it is dropped.
    place: Option<OwnedSemaphorePermit>,
}

impl TunnelBody {
    /// The length in bytes, where it is known. Unknown is not zero.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, `None` at the end of a whole body.
    pub async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        self.chunks.next().await
    }

    /// Keeps a place among the requests under way for as long as the body is.
    pub(super) fn holding(mut self, place: Option<OwnedSemaphorePermit>) -> Self {
        self.place = place;
        self
    }

    pub(super) fn empty() -> Self {
        Self { length: Some(0), chunks: futures_util::stream::empty().boxed(), broken: None, place: None }
    }

    /// A body on the answering stream.
    pub(super) fn whole(stream: RecvStream, length: Option<u64>) -> Self {
        let chunks = try_unfold((Pieces::new(stream), 0), move |(mut pieces, received)| async move {
            match pieces.next().await? {
                Some(bytes) => {
                    let received = received + bytes.len() as u64;
                    if length.is_some_and(|length| received > length) {
                        return Err(truncated("the body is longer than announced"));
                    }
                    Ok(Some((bytes, (pieces, received))))
                }
                None if length.is_none_or(|length| length == received) => Ok(None),
                None => Err(truncated("the body ended early")),
            }
        });
        Self { length, chunks: chunks.boxed(), broken: None, place: None }
    }

    /// A body in segments; `answer` is the answering stream, which says at its end how it went.
    pub(super) fn segmented(mut segments: Segments, layout: Layout, answer: RecvStream) -> Self {
        segments.trim(layout);
        let answer = Pieces::new(answer);
        let chunks = try_unfold((segments, answer), move |(mut segments, mut answer)| async move {
            match segments.next(layout, &mut answer).await {
                Ok(Some(bytes)) => Ok(Some((bytes, (segments, answer)))),
                // The server may have found at the very end that something is wrong.
                Ok(None) => match answer.next().await? {
                    None => Ok(None),
                    Some(_) => Err(truncated("the body is longer than announced")),
                },
                Err(fault) => Err(fault),
            }
        });
        Self { length: Some(layout.length()), chunks: chunks.boxed(), broken: None, place: None }
    }
}

impl http_body::Body for TunnelBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(fault) = self.broken.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        match ready!(self.chunks.poll_next_unpin(cx)) {
            Some(Ok(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Err(fault)) => {
                // The engine only sees its connection break; here is why.
                tracing::warn!(%fault, "transfer broken off");
                // hyper throws away what it has not written yet, at worst the head: an engine that
                // sees no answer at all doesn't resume. Having nothing for it makes it write.
                self.broken = Some(fault);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for TunnelBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBody").field("length", &self.length).finish_non_exhaustive()
    }
}
