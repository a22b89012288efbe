//! A body that outlives its connection: what has arrived stays, and only the missing ranges are requested
//! again over the next one.
//!
//! Must never return a byte twice, or leave one out. Holds no more than the open segments held.

use super::context::{FetchError, TransferContext};
use super::continuation::{Continuation, RangeRequest};
use super::missing_ranges::missing;
use super::wait_list::WaitGuard;
use crate::exchange::{BodyError, BufferedRange, TunnelBody};
use crate::tunnel::{Deadline, SegmentPermit, Session};
use bytes::Bytes;
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::{Backoff, Schedule};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Operation;
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// The delays before another request after a bad response.
const RETRY_SCHEDULE: Schedule =
    Schedule::exponential(Duration::from_millis(500), 2.0, Duration::from_secs(15));

/// A body, over as many connections as needed.
pub(super) struct ResumableBody {
    context: TransferContext,
    range_request: RangeRequest,
    /// Its name in the log.
    name: String,
    /// The bytes that are not read yet.
    left: Range<u64>,
    /// The parts of `left`, in order and without a gap.
    parts: VecDeque<Part>,
    /// The session in use.
    session: Session,
    /// Why it was interrupted last.
    last_fault: Option<Fault>,
    /// Since when no byte arrives, until one does.
    stall: Option<Stall>,
}

/// A range of the body.
enum Part {
    /// It has arrived.
    Buffered { chunks: VecDeque<Bytes>, _permit: Option<SegmentPermit> },
    /// It is arriving.
    Streaming(Box<RangeStream>),
    /// It was requested.
    Requested { bytes: Range<u64>, task: AbortOnDropHandle<Result<Box<RangeStream>, FetchError>> },
    /// It was not requested again yet.
    Missing(Range<u64>),
}

/// A range that is arriving.
struct RangeStream {
    bytes: Range<u64>,
    body: TunnelBody,
    /// The position of the next byte of `body`. Before `bytes` if the server sends more than was requested.
    at: u64,
    /// Whether `body` ends with `bytes`.
    ends: bool,
}

/// A transfer that receives nothing.
struct Stall {
    wait: WaitGuard,
    fault: Fault,
}

impl ResumableBody {
    /// `body` carries `bytes`, which `range_request` can request again, over `session`.
    pub(super) fn new(
        context: TransferContext,
        range_request: RangeRequest,
        bytes: Range<u64>,
        body: TunnelBody,
        session: Session,
    ) -> Self {
        let operation = &range_request.request.operation;
        let name = match operation {
            Operation::Blob { digest, .. } => digest.to_string(),
            other => other.name().to_owned(),
        };
        let stream = RangeStream { bytes: bytes.clone(), body, at: bytes.start, ends: true };
        let parts = VecDeque::from([Part::Streaming(Box::new(stream))]);
        Self { context, range_request, name, left: bytes, parts, session, last_fault: None, stall: None }
    }

    /// The next bytes, `None` at the end.
    ///
    /// # Errors
    /// If no other attempt can succeed, or none did in time.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let bytes = match self.parts.front_mut() {
                None => return Ok(None),
                Some(Part::Buffered { chunks, .. }) => chunks.pop_front(),
                Some(Part::Streaming(stream)) => match stream.next().await {
                    Ok(bytes) => bytes,
                    Err(BodyError::Permanent(fault)) => return Err(fault),
                    Err(BodyError::Transient(fault)) => {
                        self.keep_buffered(fault);
                        continue;
                    }
                },
                Some(Part::Requested { bytes, task }) => {
                    let bytes = bytes.clone();
                    let next = match task.await {
                        Ok(Ok(stream)) => Part::Streaming(stream),
                        // `fetch_front` requests it again, and distinguishes transient from permanent errors.
                        Ok(Err(_)) | Err(_) => Part::Missing(bytes),
                    };
                    self.parts[0] = next;
                    continue;
                }
                Some(Part::Missing(bytes)) => {
                    let bytes = bytes.clone();
                    self.fetch_front(bytes).await?;
                    continue;
                }
            };
            match bytes {
                Some(bytes) => {
                    self.left.start += bytes.len() as u64;
                    self.stall = None;
                    return Ok(Some(bytes));
                }
                None => drop(self.parts.pop_front()),
            }
        }
    }

    /// Turns the parts that are arriving into buffered and missing ones.
    fn keep_buffered(&mut self, fault: Fault) {
        let mut ranges = Vec::new();
        let mut at = self.left.start;
        for part in std::mem::take(&mut self.parts) {
            match part {
                Part::Buffered { chunks, _permit: permit } => {
                    let range = BufferedRange { at, chunks, permit };
                    at = end_of(&range);
                    ranges.push(range);
                }
                Part::Streaming(stream) => {
                    at = stream.bytes.end;
                    ranges.extend(stream.into_buffered());
                }
                Part::Requested { bytes, task } => {
                    at = bytes.end;
                    if let Some(Ok(Ok(stream))) = task.now_or_never() {
                        ranges.extend(stream.into_buffered());
                    }
                }
                Part::Missing(bytes) => at = bytes.end,
            }
        }
        if !self.range_request.supports_ranges() {
            ranges.clear();
        }
        let buffered: Vec<_> = ranges.iter().map(|range| range.at..end_of(range)).collect();
        let gaps = missing(self.left.clone(), &buffered);
        self.parts = arrange(ranges, &gaps);
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        let (byte, end) = (self.left.start, self.left.end);
        tracing::info!(
            content = self.name, byte, end, missing, gaps = gaps.len(), reason = %fault,
            patience_s = self.context.stall_timeout.get().as_secs(), "a transfer was interrupted; waiting for the next session"
        );
        self.context.counters.interruptions.increment();
        self.last_fault = Some(fault);
    }

    /// Requests the first part, which is missing, until it arrives or the timeout passes. Then requests other
    /// missing parts as permits allow.
    async fn fetch_front(&mut self, bytes: Range<u64>) -> Result<(), Fault> {
        let mut excluded = self.session.transport().close_reason().is_some().then(|| self.session.clone());
        let (mut backoff, mut delay) = (Backoff::new(RETRY_SCHEDULE), Duration::ZERO);
        loop {
            let stall = self.stall();
            let (since, fault) = (stall.wait.since(), stall.fault.clone());
            let until = since + self.context.stall_timeout.get();
            tokio::time::sleep_until(until.min(Instant::now() + delay).into()).await;
            if Instant::now() >= until {
                return Err(self.stall_fault(&fault));
            }
            self.session = self.context.tunnel.session(excluded.as_ref(), Deadline::at(until)).await?;
            let fetched = tokio::time::timeout_at(until.into(), self.fetch(&bytes)).await;
            match fetched.map_err(|_| self.stall_fault(&fault))? {
                Ok(stream) => {
                    let waited = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(
                        content = self.name,
                        byte = bytes.start,
                        waited_ms = waited,
                        "the transfer continues"
                    );
                    self.parts[0] = Part::Streaming(stream);
                    self.request_missing();
                    return Ok(());
                }
                Err(FetchError::Permanent(fault)) => return Err(fault),
                Err(FetchError::ConnectionLost) => excluded = Some(self.session.clone()),
                Err(FetchError::Transient(fault)) => {
                    tracing::info!(content = self.name, reason = %fault, "requesting again");
                    delay = backoff.next_delay(Duration::ZERO, random_fraction());
                    self.stall().fault = fault;
                }
            }
        }
    }

    async fn fetch(&mut self, bytes: &Range<u64>) -> Result<Box<RangeStream>, FetchError> {
        let operation = &self.range_request.request.operation;
        let permit = match self.session.try_permit(operation) {
            Some(permit) => Some(permit),
            None => {
                // Two transfers that hold permits and wait for more could block each other.
                self.release_permits();
                self.session.permit(&self.range_request.request.operation).await
            }
        };
        let fetched = self.context.fetch(&self.session, permit, &self.range_request, bytes).await;
        fetched.map(|continuation| RangeStream::new(bytes.clone(), continuation))
    }

    /// Requests the other missing parts as far as permits are free.
    fn request_missing(&mut self) {
        for part in &mut self.parts {
            let Part::Missing(bytes) = part else { continue };
            let Some(permit) = self.session.try_permit(&self.range_request.request.operation) else { break };
            let (context, session, range_request) =
                (self.context.clone(), self.session.clone(), self.range_request.clone());
            let range = bytes.clone();
            let task = async move {
                let fetched = context.fetch(&session, Some(permit), &range_request, &range).await;
                fetched.map(|continuation| RangeStream::new(range, continuation))
            };
            let task = AbortOnDropHandle::new(tokio::spawn(task));
            *part = Part::Requested { bytes: bytes.clone(), task };
        }
    }

    /// Drops the requests after the first part. They have received little, and it is requested again.
    fn release_permits(&mut self) {
        for part in &mut self.parts {
            let bytes = match part {
                Part::Requested { bytes, .. } => bytes.clone(),
                Part::Streaming(stream) => stream.bytes.clone(),
                Part::Buffered { .. } | Part::Missing(_) => continue,
            };
            *part = Part::Missing(bytes);
        }
    }

    /// The current stall, which starts now if there is none.
    fn stall(&mut self) -> &mut Stall {
        let Self { context, name, left, last_fault, stall, .. } = self;
        stall.get_or_insert_with(|| {
            let fault = last_fault.clone().unwrap_or_else(ended_early);
            let wait = context.wait_list.begin(name, Some((left.start, left.end)), fault.to_string());
            Stall { wait, fault }
        })
    }

    fn stall_fault(&self, fault: &Fault) -> Fault {
        let detail = format!(
            "no byte received for {} s: {}",
            self.context.stall_timeout.get().as_secs(),
            fault.detail
        );
        Fault::new(fault.hop, FaultKind::TimedOut, detail)
    }
}

impl RangeStream {
    fn new(bytes: Range<u64>, continuation: Continuation) -> Box<Self> {
        let at = bytes.start - continuation.skip;
        let ends = continuation.body.length() == Some(bytes.end - at);
        Box::new(Self { bytes, body: continuation.body, at, ends })
    }

    /// The next of its bytes, `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if self.bytes.is_empty() && !self.ends {
                return Ok(None);
            }
            let mut chunk = match self.body.next().await {
                Ok(Some(chunk)) => chunk,
                // The length shows that this was everything.
                Ok(None) | Err(BodyError::Transient(_)) if self.bytes.is_empty() => return Ok(None),
                Ok(None) => return Err(BodyError::Permanent(ended_early())),
                Err(error) => return Err(error),
            };
            let first = self.at;
            self.at += chunk.len() as u64;
            clip(&mut chunk, first, &self.bytes);
            if !chunk.is_empty() {
                self.bytes.start += chunk.len() as u64;
                return Ok(Some(chunk));
            }
        }
    }

    /// The bytes of it that have arrived.
    fn into_buffered(self) -> Vec<BufferedRange> {
        if self.at < self.bytes.start {
            // The bytes before `bytes` are still arriving.
            return Vec::new();
        }
        // Positions count from the start of `body`.
        let Some(length) = self.body.length() else { return Vec::new() };
        let origin = if self.ends { self.bytes.end - length } else { 0 };
        let mut ranges = self.body.into_buffered();
        for range in &mut ranges {
            range.at += origin;
            let mut at = range.at;
            for chunk in &mut range.chunks {
                let length = chunk.len() as u64;
                clip(chunk, at, &self.bytes);
                at += length;
            }
            range.chunks.retain(|chunk| !chunk.is_empty());
        }
        ranges.retain(|range| !range.chunks.is_empty());
        ranges
    }
}

/// Removes from `chunk`, whose first byte is at `at`, what is not in `range`.
fn clip(chunk: &mut Bytes, at: u64, range: &Range<u64>) {
    let end = at + chunk.len() as u64;
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk.len());
    let (before, behind) = (length(range.start.saturating_sub(at)), length(end.saturating_sub(range.end)));
    chunk.truncate(chunk.len() - behind);
    let _ = chunk.split_to(before.min(chunk.len()));
}

/// The buffered and missing ranges as parts, in order. A buffered range inside a missing one is dropped.
fn arrange(ranges: Vec<BufferedRange>, missing: &[Range<u64>]) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let mut missing = missing.iter().peekable();
    let mut reached = 0;
    for range in ranges {
        while let Some(gap) = missing.next_if(|gap| gap.start <= range.at) {
            reached = gap.end;
            parts.push_back(Part::Missing(gap.clone()));
        }
        if range.at >= reached {
            parts.push_back(Part::Buffered { chunks: range.chunks, _permit: range.permit });
        }
    }
    parts.extend(missing.map(|gap| Part::Missing(gap.clone())));
    parts
}

fn end_of(range: &BufferedRange) -> u64 {
    range.at + range.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>()
}

fn ended_early() -> Fault {
    Fault::new(Hop::Tunnel, FaultKind::Truncated, "the body ended early")
}
