//! The parts of a body that is not read to its end: what has arrived, what is arriving, and what is missing.
//!
//! Must never return a byte twice, or leave one out.

use super::range_request::Continuation;
use crate::exchange::{ExchangeError, RemoteBody};
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

/// Bytes that have arrived.
pub(super) struct BufferedRange {
    pub(super) bytes: Range<u64>,
    chunks: VecDeque<Bytes>,
    permit: Option<SegmentPermit>,
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

    /// A part that is here.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        let (end, chunks) = (bytes.len() as u64, VecDeque::from([bytes]));
        Self { end, content: Content::Buffered { chunks, _permit: None } }
    }

    /// The bytes of the part, which begins at `start`, that have arrived. Never waits.
    pub(super) fn into_buffered(self, start: u64) -> Vec<BufferedRange> {
        let bytes = start..self.end;
        match self.content {
            Content::Buffered { chunks, _permit: permit } => vec![BufferedRange { bytes, chunks, permit }],
            Content::Arriving(arriving) => arriving.into_buffered(&bytes),
            Content::Requested(task) => match task.now_or_never() {
                Some(Ok(Ok(continuation))) => Arriving::new(&bytes, continuation).into_buffered(&bytes),
                _ => Vec::new(),
            },
            Content::Missing => Vec::new(),
        }
    }
}

impl Arriving {
    fn new(bytes: &Range<u64>, Continuation { body, skip }: Continuation) -> Self {
        let ends = body.length().is_none_or(|length| length == skip + (bytes.end - bytes.start));
        Self { body, skip, ends }
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

    fn into_buffered(self, bytes: &Range<u64>) -> Vec<BufferedRange> {
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
            ranges.push(BufferedRange { bytes: start..at, chunks: run.chunks, permit: run.permit });
        }
        ranges.retain(|range| !range.bytes.is_empty());
        ranges
    }
}

/// The buffered and the missing ranges as parts, in order. A buffered range inside a missing one is dropped.
pub(super) fn arrange(ranges: Vec<BufferedRange>, missing: &[Range<u64>]) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let mut missing = missing.iter().peekable();
    let mut reached = 0;
    for BufferedRange { bytes, chunks, permit } in ranges {
        while let Some(gap) = missing.next_if(|gap| gap.start <= bytes.start) {
            reached = gap.end;
            parts.push_back(Part::missing(gap.end));
        }
        if bytes.start >= reached {
            let content = Content::Buffered { chunks, _permit: permit };
            parts.push_back(Part { end: bytes.end, content });
        }
    }
    parts.extend(missing.map(|gap| Part::missing(gap.end)));
    parts
}
