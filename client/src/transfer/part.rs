//! The parts of a body that is not read to its end: what has arrived, what is arriving, and what is missing.
//!
//! Must never return a byte twice, or leave one out.

use super::range_request::Continuation;
use super::shared::SharedReader;
use crate::exchange::{ExchangeError, RemoteBody};
use crate::local_api::LocalBody;
use crate::tunnel::SegmentPermit;
use bytes::{Buf as _, Bytes};
use docxy_protocol::fault::Retry;
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::ops::Range;
use tokio_util::task::AbortOnDropHandle;

/// A part of a body. It begins where the part before it ends.
pub(super) struct Part {
    /// The position after its last byte. `u64::MAX` if that is unknown.
    pub(super) end: u64,
    pub(super) content: Content,
}

/// Where the bytes of a part are.
pub(super) enum Content {
    /// Here.
    Buffered { chunks: VecDeque<Bytes>, _permit: Option<SegmentPermit> },
    /// On their way.
    Arriving(Box<Arriving>),
    /// On their way from the running client.
    Local(LocalBody),
    /// On the disk, or in flights that other readers share.
    Shared(Box<SharedReader>),
    /// On their way over a session on trial, which may be faster than they are read.
    Ahead(AheadTask),
    /// Requested.
    Requested(AbortOnDropHandle<Result<Continuation, ExchangeError>>),
    /// They were not requested yet, or are to be requested again.
    Missing,
}

/// A part that is arriving.
pub(super) struct Arriving {
    body: RemoteBody,
    /// The bytes of `body` before the part, which are still to come.
    skip: u64,
    /// Whether `body` ends with the part.
    ends: bool,
}

/// Receives a part to its end.
pub(super) type AheadTask = AbortOnDropHandle<Result<VecDeque<Bytes>, ExchangeError>>;

/// Bytes that have arrived, or that arrive over another session.
pub(super) struct KeptRange {
    pub(super) bytes: Range<u64>,
    content: Content,
}

impl KeptRange {
    const fn buffered(bytes: Range<u64>, chunks: VecDeque<Bytes>, permit: Option<SegmentPermit>) -> Self {
        Self { bytes, content: Content::Buffered { chunks, _permit: permit } }
    }

    /// The position and the bytes of what is here.
    pub(super) fn into_arrived(self) -> Option<(u64, VecDeque<Bytes>)> {
        match self.content {
            Content::Buffered { chunks, .. } => Some((self.bytes.start, chunks)),
            Content::Ahead(task) => match task.now_or_never() {
                Some(Ok(Ok(chunks))) => Some((self.bytes.start, chunks)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Part {
    /// A part that the body of a response carries.
    pub(super) fn arriving(bytes: &Range<u64>, continuation: Continuation) -> Self {
        let arriving = Arriving::new(bytes, continuation);
        Self { end: bytes.end, content: Content::Arriving(Box::new(arriving)) }
    }

    pub(super) const fn missing(end: u64) -> Self {
        Self { end, content: Content::Missing }
    }

    /// A part of a blob that several readers share.
    pub(super) fn shared(end: u64, reader: SharedReader) -> Self {
        Self { end, content: Content::Shared(Box::new(reader)) }
    }

    /// A part that is here.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        let (end, chunks) = (bytes.len() as u64, VecDeque::from([bytes]));
        Self { end, content: Content::Buffered { chunks, _permit: None } }
    }

    /// Receives these bytes to their end.
    pub(super) async fn receive(
        bytes: Range<u64>,
        continuation: Continuation,
    ) -> Result<VecDeque<Bytes>, ExchangeError> {
        let mut arriving = Arriving::new(&bytes, continuation);
        let (mut left, mut chunks) = (bytes.end - bytes.start, VecDeque::new());
        while let Some(chunk) = arriving.next(left).await? {
            left -= chunk.len() as u64;
            chunks.push_back(chunk);
        }
        Ok(chunks)
    }

    /// Of the part, which begins at `start`, what need not be requested again. Never waits.
    pub(super) fn into_kept(self, start: u64) -> Vec<KeptRange> {
        let bytes = start..self.end;
        match self.content {
            Content::Buffered { chunks, _permit: permit } => vec![KeptRange::buffered(bytes, chunks, permit)],
            content @ Content::Ahead(_) => vec![KeptRange { bytes, content }],
            Content::Arriving(arriving) => arriving.into_kept(&bytes),
            Content::Requested(task) => match task.now_or_never() {
                Some(Ok(Ok(continuation))) => Arriving::new(&bytes, continuation).into_kept(&bytes),
                _ => Vec::new(),
            },
            Content::Local(_) | Content::Shared(_) | Content::Missing => Vec::new(),
        }
    }
}

impl Arriving {
    fn new(bytes: &Range<u64>, Continuation { body, skip }: Continuation) -> Self {
        let ends = body.length().is_none_or(|length| length == skip + (bytes.end - bytes.start));
        Self { body, skip, ends }
    }

    /// Ends the part early, after at least `lead` more of its `left` bytes. Returns the bytes that are left then, or `None`
    /// if it does not end early.
    pub(super) fn shorten(&mut self, left: u64, lead: u64) -> Option<u64> {
        if self.skip > 0 {
            return None;
        }
        let shorter = self.body.shorten(lead)?;
        self.ends = false;
        Some(shorter.min(left)).filter(|shorter| *shorter < left)
    }

    /// The next of the `left` bytes of the part, `None` after the last.
    pub(super) async fn next(&mut self, left: u64) -> Result<Option<Bytes>, ExchangeError> {
        loop {
            if left == 0 && !self.ends {
                return Ok(None);
            }
            let mut chunk = match self.body.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if left == 0 || self.body.length().is_none() => {
                    self.body.complete();
                    return Ok(None);
                }
                Ok(None) => return Err(ExchangeError::mismatch("the body ended early")),
                // The length shows that this was everything.
                Err(error) if left == 0 && error.retry() == Retry::Transient => return Ok(None),
                Err(error) => return Err(error),
            };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            // It fits, because it is at most the length of the chunk.
            chunk.advance(skipped as usize);
            if chunk.len() as u64 > left {
                if self.ends {
                    return Err(ExchangeError::mismatch("the body is longer than announced"));
                }
                chunk.truncate(left as usize);
            }
            if chunk.len() as u64 == left {
                // The reader may stop here, since the length shows that this is the end.
                self.body.complete();
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }

    fn into_kept(self, bytes: &Range<u64>) -> Vec<KeptRange> {
        if self.skip > 0 {
            return Vec::new();
        }
        let mut ranges = Vec::new();
        let mut at = bytes.start;
        for mut run in self.body.into_buffered() {
            let start = at + run.gap;
            at = start;
            for chunk in &mut run.chunks {
                // The body may have more than the part.
                chunk.truncate(usize::try_from(bytes.end.saturating_sub(at)).unwrap_or(usize::MAX));
                at += chunk.len() as u64;
            }
            run.chunks.retain(|chunk| !chunk.is_empty());
            ranges.push(KeptRange::buffered(start..at, run.chunks, run.permit));
        }
        ranges.retain(|range| !range.bytes.is_empty());
        ranges
    }
}

/// The kept and the missing ranges as parts, in order. A kept range inside a missing one is dropped.
pub(super) fn arrange(ranges: Vec<KeptRange>, missing: &[Range<u64>]) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let mut missing = missing.iter().peekable();
    let mut reached = 0;
    for KeptRange { bytes, content } in ranges {
        while let Some(gap) = missing.next_if(|gap| gap.start <= bytes.start) {
            reached = gap.end;
            parts.push_back(Part::missing(gap.end));
        }
        if bytes.start >= reached {
            parts.push_back(Part { end: bytes.end, content });
        }
    }
    parts.extend(missing.map(|gap| Part::missing(gap.end)));
    parts
}
