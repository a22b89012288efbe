//! The body of a response on its way to the engine: over as many connections as needed, and verified if it
//! has a digest.
//!
//! Truncation is never silent: a body that is interrupted, short or wrong is an error, and hyper then aborts
//! the connection of the engine.

mod context;
mod continuation;
mod missing_ranges;
mod resume;
mod stall_timeout;
mod verify;
mod wait_list;

pub(crate) use context::TransferContext;
pub(crate) use stall_timeout::StallTimeout;
pub use wait_list::{WaitEntry, WaitList};

use crate::cache::ManifestWriter;
use crate::counters::TransferCounters;
use crate::exchange::{BodyError, TunnelBody};
use crate::tunnel::Session;
use bytes::Bytes;
use continuation::RangeRequest;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::request::{Method, Operation, Request};
use futures_util::stream::{BoxStream, StreamExt as _, iter, try_unfold};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use resume::ResumableBody;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_util::task::task_tracker::TaskTrackerToken;
use verify::BlobVerifier;

/// A body on its way to the engine.
pub struct Transfer {
    length: Option<u64>,
    chunks: BoxStream<'static, Result<Bytes, Fault>>,
    /// Why the body was interrupted, until hyper receives it.
    abort_reason: Option<Fault>,
    counters: TransferCounters,
    /// Counts the body as a request under way.
    _under_way: TaskTrackerToken,
}

/// The bytes, before they are verified.
enum TransferSource {
    /// From one connection: they cannot be requested again.
    Once(Box<TunnelBody>),
    Resumable(Box<ResumableBody>),
}

/// The bytes, with what verifies and stores them.
struct VerifiedBody {
    source: TransferSource,
    verifier: Option<BlobVerifier>,
    writer: Option<ManifestWriter>,
    /// Bytes that were held back and are verified.
    released: VecDeque<Bytes>,
}

impl Transfer {
    /// The body of a response to `request` with this head, whose first bytes come over `session`.
    pub(crate) fn new(
        context: &TransferContext,
        request: Request,
        (status, headers): (StatusCode, &Headers),
        body: TunnelBody,
        session: Session,
        under_way: TaskTrackerToken,
    ) -> Self {
        let counters = context.counters.clone();
        let length = body.length();
        let content_range = length.and_then(|_| ContentRange::of_response(status, headers.map(), length));
        let mut verifier = None;
        let writer = context.metadata.manifest_writer(&request, status, headers);
        let range_request = match &request.operation {
            Operation::Blob { digest, method: Method::Get, .. } => {
                let unknown_length =
                    length.is_none() && status == StatusCode::OK && !is_encoded(headers.map());
                if unknown_length || content_range.as_ref().is_some_and(ContentRange::is_whole) {
                    verifier = Some(BlobVerifier::new(digest.clone(), length));
                }
                content_range.map(|content_range| {
                    let bytes = content_range.bytes().clone();
                    (RangeRequest::blob(request, content_range), bytes)
                })
            }
            // These responses cost nothing and do not change, so they can be requested again.
            operation if operation.method() == Method::Get && status == StatusCode::OK => {
                length.map(|length| (RangeRequest::small(request, headers, length), 0..length))
            }
            _ => None,
        };
        let source = match range_request {
            Some((range_request, bytes)) => TransferSource::Resumable(Box::new(ResumableBody::new(
                context.clone(),
                range_request,
                bytes,
                body,
                session,
            ))),
            None => TransferSource::Once(Box::new(body)),
        };
        let verified = VerifiedBody { source, verifier, writer, released: VecDeque::new() };
        let chunks = try_unfold(verified, |mut verified| async move {
            let next = verified.next().await?;
            Ok(next.map(|bytes| (bytes, verified)))
        });
        Self { length, chunks: chunks.boxed(), abort_reason: None, counters, _under_way: under_way }
    }

    /// A body that is complete.
    pub(crate) fn of_bytes(bytes: Bytes, under_way: TaskTrackerToken) -> Self {
        let length = Some(bytes.len() as u64);
        let counters = TransferCounters::default();
        let chunks = (!bytes.is_empty()).then_some(Ok(bytes));
        Self { length, chunks: iter(chunks).boxed(), abort_reason: None, counters, _under_way: under_way }
    }

    /// The length in bytes, if it is known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, `None` at the end of a complete body.
    pub async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        self.chunks.next().await
    }
}

impl TransferSource {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Once(body) => body.next().await.map_err(|error| match error {
                BodyError::Transient(fault) | BodyError::Permanent(fault) => fault,
            }),
            Self::Resumable(body) => body.next().await,
        }
    }
}

impl VerifiedBody {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(bytes) = self.released.pop_front() {
                return Ok(Some(bytes));
            }
            if let Some(bytes) = self.verifier.as_mut().and_then(BlobVerifier::release) {
                return Ok(Some(bytes));
            }
            match (self.source.next().await?, &mut self.verifier) {
                (Some(bytes), Some(verifier)) => verifier.take(bytes),
                (Some(bytes), None) => {
                    if let Some(writer) = &mut self.writer {
                        writer.write(&bytes);
                    }
                    return Ok(Some(bytes));
                }
                (None, None) => return Ok(None),
                (None, verifier) => {
                    if let Some(verifier) = verifier.take() {
                        self.released = verifier.finish()?;
                    }
                    if self.released.is_empty() {
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
        if let Some(fault) = self.abort_reason.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        match ready!(self.chunks.poll_next_unpin(cx)) {
            Some(Ok(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Err(fault)) => {
                // The engine only sees that its connection is aborted, so the reason goes to the log.
                tracing::warn!(%fault, "transfer aborted");
                self.counters.failed(&fault);
                // hyper discards what it has not written yet, perhaps the head, and an engine that received
                // no head does not resume. `Pending` makes hyper write first.
                self.abort_reason = Some(fault);
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
