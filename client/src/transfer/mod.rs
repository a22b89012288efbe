//! The body of a response on its way to the engine: over as many sessions as needed, and verified if it has a
//! digest. Each layer is read by the one before it, on demand:
//!
//! ```text
//!  Transfer        what hyper reads: the response body
//!  VerifiedBody    holds back 64 KiB until the digest matches
//!  ResumableBody   counts positions; requests what a lost session left missing
//!  RemoteBody      (exchange) one response over one session
//!  ChunkReader or Segment   (exchange) one stream
//! ```
//!
//! Beside a running client, the last two are a LocalBody (local_api), which has passed these layers in that process. If
//! blobs are kept on the disk, they are a SharedReader (shared): it reads there, and follows the flights, each of which
//! is a ResumableBody of its own.
//!
//! Truncation is never silent: a body that is interrupted, short or wrong is an error, and hyper then aborts
//! the connection of the engine.

mod ahead;
mod missing_ranges;
pub mod neighbours;
mod outage;
mod part;
mod range_request;
mod refetch;
mod resume;
mod running;
mod shared;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use range_request::RangeRequest;
pub(crate) use running::TransferGuard;
pub use running::{TransferRegistry, TransferSnapshot, WaitsFor};
pub(crate) use shared::{Found, SharedBlobs, SharedReader};

use crate::accounts::credentials::Credentials;
use crate::exchange::{ExchangeError, RemoteBody};
use crate::local_api::RunningClient;
use crate::metadata::Metadata;
use crate::metadata::cache::ManifestWriter;
use crate::status::counters::TransferCounters;
use crate::transfer::neighbours::Neighbours;
use crate::tunnel::{Session, Tunnel};
use bytes::Bytes;
use docxy_host::trouble::Troubles;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Method, Operation, Request};
use futures_util::stream::{Stream, StreamExt as _, try_unfold};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use parking_lot::RwLock;
use part::Part;
use range_request::Continuation;
use resume::{ResumableBody, Source};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio_util::sync::ReusableBoxFuture;
use verify::{BlobVerifier, VerifiedBody};

/// How long an interrupted transfer waits for its next byte. Can change while transfers run.
pub(crate) type StallTimeout = Arc<RwLock<Duration>>;

/// What all transfers share. Clones share it too.
#[derive(Debug, Clone)]
pub(crate) struct TransferContext {
    pub(crate) tunnel: Tunnel,
    /// The running client beside which a command runs.
    pub(crate) running: Option<Arc<RunningClient>>,
    pub(crate) stall_timeout: StallTimeout,
    pub(crate) credentials: Credentials,
    pub(crate) registry: TransferRegistry,
    pub(crate) metadata: Metadata,
    pub(crate) counters: TransferCounters,
    /// The registries that fail.
    pub(crate) outages: Arc<Troubles<Registry>>,
    /// The blobs that are kept on the disk, if they are.
    pub(crate) blobs: Option<SharedBlobs>,
    /// The clients that are asked for public ones.
    pub(crate) neighbours: Neighbours,
}

impl TransferContext {
    /// The running client, until the tunnel of this program was needed.
    pub(crate) fn running_client(&self) -> Option<&RunningClient> {
        self.running.as_deref().filter(|_| !self.tunnel.is_started())
    }
}

/// A body on its way to the engine.
#[derive(Debug)]
pub struct Transfer {
    length: Option<u64>,
    /// Bytes that the engine was given.
    released: u64,
    reading: ReusableBoxFuture<'static, Read>,
    guard: Arc<TransferGuard>,
    /// Why the body was interrupted, until hyper receives it.
    abort_reason: Option<Fault>,
    counters: TransferCounters,
}

/// What happens to a body.
#[derive(Debug)]
pub(crate) enum TransferEvent {
    /// Its next bytes came.
    Bytes(Bytes),
    /// It waits for this reason, or continues.
    Waits(Option<String>),
}

/// A body, and what was read from it.
type Read = (Box<VerifiedBody>, Result<Option<Bytes>, ExchangeError>);

async fn read(mut body: Box<VerifiedBody>) -> Read {
    let next = body.next().await;
    (body, next)
}

impl Transfer {
    /// The body of a response to `request` with this head, whose first bytes come over `session`.
    pub(crate) fn new(
        context: &TransferContext,
        request: Request,
        (status, headers): (StatusCode, &Headers),
        body: RemoteBody,
        session: Session,
        guard: TransferGuard,
    ) -> Self {
        let length = body.length();
        let content_range = length.and_then(|_| ContentRange::of_response(status, headers, length));
        let writer = ManifestWriter::new(&context.metadata.cache, &request, status, headers);
        let (mut verifier, mut start) = (None, 0);
        let range_request = match &request.operation {
            Operation::Blob { digest, method: Method::Get, .. } => {
                let unknown_length = length.is_none() && status == StatusCode::OK && !is_encoded(headers);
                if unknown_length || content_range.as_ref().is_some_and(ContentRange::is_whole) {
                    verifier = Some(BlobVerifier::new(digest.clone(), length));
                }
                content_range.map(|content_range| {
                    start = content_range.bytes().start;
                    RangeRequest::blob(request, content_range.total())
                })
            }
            // These responses do not count against a pull limit and do not change, so they can be requested again.
            operation if operation.method() == Method::Get && status == StatusCode::OK => {
                length.map(|length| RangeRequest::small(request, headers, length))
            }
            _ => None,
        };
        let source = range_request.map(|request| Source::new(context, request, Some(session)));
        let guard = Arc::new(guard);
        let bytes = start..length.map_or(u64::MAX, |length| start + length);
        let part = Part::arriving(&bytes, Continuation { body, skip: 0 });
        let source = ResumableBody::new(start, Some(part), source, Arc::clone(&guard));
        let body = VerifiedBody { source, verifier, stored: None, is_whole: false, writer };
        Self::of(length, body, guard, context.counters.clone())
    }

    /// The bytes of a reader of a shared blob. They are verified if they are the whole.
    pub(crate) fn of_shared(context: &TransferContext, reader: SharedReader, guard: TransferGuard) -> Self {
        let (bytes, stored) = (reader.bytes().clone(), reader.stored().clone());
        let is_whole = bytes == (0..stored.size());
        let needs_verifier = is_whole && !stored.is_verified();
        let verifier =
            needs_verifier.then(|| BlobVerifier::new(stored.key().digest.clone(), Some(bytes.end)));
        let guard = Arc::new(guard);
        let part = Part::shared(bytes.end, reader);
        let source = ResumableBody::new(bytes.start, Some(part), None, Arc::clone(&guard));
        let body = VerifiedBody { source, verifier, stored: Some(stored), is_whole, writer: None };
        Self::of(Some(bytes.end - bytes.start), body, guard, context.counters.clone())
    }

    /// These bytes of a blob, to its end, whose reader verifies it if they are not the whole. They are requested when they
    /// are read, and again until they arrive.
    pub(crate) fn of_blob(
        context: &TransferContext,
        request: Request,
        bytes: Range<u64>,
        guard: TransferGuard,
    ) -> Self {
        let verifier = match &request.operation {
            Operation::Blob { digest, .. } if bytes.start == 0 => {
                Some(BlobVerifier::new(digest.clone(), Some(bytes.end)))
            }
            _ => None,
        };
        let source = Source::new(context, RangeRequest::blob(request, Some(bytes.end)), None);
        let guard = Arc::new(guard);
        let part = (!bytes.is_empty()).then(|| Part::missing(bytes.end));
        let source = ResumableBody::new(bytes.start, part, Some(source), Arc::clone(&guard));
        let body = VerifiedBody { source, verifier, stored: None, is_whole: false, writer: None };
        Self::of(Some(bytes.end - bytes.start), body, guard, context.counters.clone())
    }

    /// A body that is complete.
    pub(crate) fn of_bytes(bytes: Bytes, guard: TransferGuard) -> Self {
        let length = Some(bytes.len() as u64);
        let guard = Arc::new(guard);
        let part = (!bytes.is_empty()).then(|| Part::of_bytes(bytes));
        let source = ResumableBody::new(0, part, None, Arc::clone(&guard));
        let body = VerifiedBody { source, verifier: None, stored: None, is_whole: false, writer: None };
        Self::of(length, body, guard, TransferCounters::default())
    }

    fn of(
        length: Option<u64>,
        body: VerifiedBody,
        guard: Arc<TransferGuard>,
        counters: TransferCounters,
    ) -> Self {
        if let Some(length) = length {
            guard.set_length(length);
            if length == 0 {
                guard.complete();
            }
        }
        let reading = ReusableBoxFuture::new(read(Box::new(body)));
        Self { length, released: 0, reading, guard, abort_reason: None, counters }
    }

    /// The length in bytes, if it is known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The bytes, and why it waits between them.
    pub(crate) fn events(self) -> impl Stream<Item = Result<TransferEvent, Fault>> + Send {
        let reasons = Box::pin(self.guard.wait_reasons());
        try_unfold((self, reasons), async |(mut transfer, mut reasons)| {
            let event = tokio::select! {
                next = transfer.next() => next?.map(TransferEvent::Bytes),
                Some(reason) = reasons.next() => Some(TransferEvent::Waits(reason)),
            };
            Ok(event.map(|event| (event, (transfer, reasons))))
        })
    }

    /// The next bytes, `None` at the end of a complete body. Cancel safe.
    ///
    /// # Errors
    /// If the body is interrupted for good, short, or wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        let (body, next) = ready!(self.reading.poll(cx));
        self.reading.set(read(body));
        if let Ok(bytes) = &next {
            self.released += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
            if bytes.is_none() || self.length == Some(self.released) {
                self.guard.complete();
            }
        }
        Poll::Ready(next.map_err(|error| {
            let fault = error.to_fault();
            // The engine only sees that its connection is aborted, so the reason goes to the log.
            tracing::warn!(%fault, trace_id = %self.guard.trace(), "transfer aborted");
            self.counters.failed(&fault, self.guard.image());
            fault
        }))
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
        match ready!(self.poll_next(cx)) {
            Ok(bytes) => Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Err(fault) => {
                // hyper discards what it has not written yet, perhaps the head, and an engine that received
                // no head does not resume. `Pending` makes hyper write first.
                self.abort_reason = Some(fault);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
