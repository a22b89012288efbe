//! An answer's body on its way to whoever asked, over as many connections as it takes, and checked
//! against its digest where it has one.
//!
//! It ends only where everything has come and is right. A body that breaks, or is short by a byte,
//! is an error, and hyper then breaks the engine's connection.

mod again;
#[cfg(fuzzing)]
pub mod fuzz;
mod holes;
mod means;
mod patience;
mod resume;
mod span;
mod verify;

pub(crate) use means::Means;
pub(crate) use patience::PatienceSetting;

use crate::counters::TransferCounters;
use crate::exchange::{Broken, TunnelBody};
use crate::metadata::Keep;
use crate::tunnel::Line;
use again::Again;
use bytes::Bytes;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::Headers;
use docxy_protocol::request::{Method, Operation, Request};
use futures_util::stream::{BoxStream, StreamExt as _, iter, try_unfold};
use http::{StatusCode, header};
use http_body::{Frame, SizeHint};
use resume::Resumable;
use span::Span;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_util::task::task_tracker::TaskTrackerToken;
use verify::Verify;

/// A body under way.
pub struct Transfer {
    length: Option<u64>,
    chunks: BoxStream<'static, Result<Bytes, Fault>>,
    /// What the body broke off with, until hyper is told.
    broken: Option<Fault>,
    counters: TransferCounters,
    /// Counts it among what is under way.
    _under_way: TaskTrackerToken,
}

/// Its bytes, before they are checked.
enum Source {
    /// Of one connection: what nobody could ask for again.
    Once(Box<TunnelBody>),
    Resumable(Box<Resumable>),
}

/// Its bytes, and what is known of them.
struct Checked {
    source: Source,
    verify: Option<Verify>,
    keep: Option<Keep>,
    /// What was held back and is right.
    rest: VecDeque<Bytes>,
}

impl Transfer {
    /// The body of an answer to `request` with this head, which has begun to come over `line`.
    pub(crate) fn new(
        means: &Means,
        request: Request,
        (status, headers): (StatusCode, &Headers),
        body: TunnelBody,
        line: Line,
        under_way: TaskTrackerToken,
    ) -> Self {
        let counters = means.counters.clone();
        let length = body.length();
        let span = length.and_then(|length| Span::of(status, headers, length));
        let mut verify = None;
        let keep = means.metadata.keep(&request, status, headers);
        let again = match &request.operation {
            Operation::Blob { digest, method: Method::Get, .. } => {
                let unmeasured = length.is_none()
                    && status == StatusCode::OK
                    && !headers.map().contains_key(header::CONTENT_ENCODING);
                if unmeasured || span.as_ref().is_some_and(Span::is_whole) {
                    verify = Some(Verify::new(digest.clone(), length));
                }
                span.map(|span| (Again::blob(request, &span), span.bytes))
            }
            // Asked for once more, these would cost nothing and be the same.
            operation if operation.method() == Method::Get && status == StatusCode::OK => {
                length.map(|length| (Again::small(request, headers, length), 0..length))
            }
            _ => None,
        };
        let source = match again {
            Some((again, bytes)) => {
                Source::Resumable(Box::new(Resumable::new(means.clone(), again, bytes, body, line)))
            }
            None => Source::Once(Box::new(body)),
        };
        let checked = Checked { source, verify, keep, rest: VecDeque::new() };
        let chunks = try_unfold(checked, |mut checked| async move {
            let next = checked.next().await?;
            Ok(next.map(|bytes| (bytes, checked)))
        });
        Self { length, chunks: chunks.boxed(), broken: None, counters, _under_way: under_way }
    }

    /// A body that is here already.
    pub(crate) fn of_bytes(bytes: Bytes, under_way: TaskTrackerToken) -> Self {
        let length = Some(bytes.len() as u64);
        let counters = TransferCounters::default();
        let chunks = (!bytes.is_empty()).then_some(Ok(bytes));
        Self { length, chunks: iter(chunks).boxed(), broken: None, counters, _under_way: under_way }
    }

    /// The length in bytes, where it is known. Unknown is not zero.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, `None` at the end of a whole body.
    pub async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        self.chunks.next().await
    }
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Once(body) => body.next().await.map_err(|broken| match broken {
                Broken::Lost(fault) | Broken::Failed(fault) => fault,
            }),
            Self::Resumable(body) => body.next().await,
        }
    }
}

impl Checked {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(bytes) = self.rest.pop_front() {
                return Ok(Some(bytes));
            }
            if let Some(bytes) = self.verify.as_mut().and_then(Verify::release) {
                return Ok(Some(bytes));
            }
            match (self.source.next().await?, &mut self.verify) {
                (Some(bytes), Some(verify)) => verify.take(bytes),
                (Some(bytes), None) => {
                    if let Some(keep) = &mut self.keep {
                        keep.watch(&bytes);
                    }
                    return Ok(Some(bytes));
                }
                (None, None) => return Ok(None),
                (None, verify) => {
                    if let Some(verify) = verify.take() {
                        self.rest = verify.finish()?;
                    }
                    if self.rest.is_empty() {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl http_body::Body for Transfer {
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
                self.counters.failed(&fault);
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

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("length", &self.length).finish_non_exhaustive()
    }
}
