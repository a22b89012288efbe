//! Opens the streams for the segments of a large body, in order.
//!
//! The open streams are the only window. While the engine does not read, no stream is opened, and the server
//! stops reading from the CDN.

use super::READ_BYTES_MAX;
use super::error::ExchangeError;
use crate::tunnel::{BodyShare, SegmentPermit, Session};
use bytes::{Bytes, BytesMut};
use docxy_protocol::control::{ExchangeId, SegmentHeader, StreamHeader};
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_protocol::segment::SegmentLayout;
use docxy_transport::ReceiveStream;
use http::HeaderValue;
use std::collections::VecDeque;
use std::time::Duration;

/// How often the path is observed while nothing can be read. What arrives then is behind a lost packet, and shows
/// whether more must be requested.
const OBSERVATION_INTERVAL: Duration = Duration::from_millis(50);

/// How long an engine may take, at least, to close a range of which it has read enough.
const CLOSE_DELAY_MIN: Duration = Duration::from_millis(100);

/// A buffer with less free space than this is replaced before the next read.
const FREE_BUFFER_BYTES_MIN: usize = 16 * 1024;

/// Bytes of a body that arrived before the session was lost, and were not read.
#[derive(Debug)]
pub(crate) struct BufferedRun {
    /// The bytes before it that did not arrive, since the run before it.
    pub(crate) gap: u64,
    /// Its bytes, without a gap.
    pub(crate) chunks: VecDeque<Bytes>,
    /// The permit of their segment.
    pub(crate) permit: Option<SegmentPermit>,
}

/// The segments of one body.
#[derive(Debug)]
pub(super) struct Segments {
    session: Session,
    share: BodyShare,
    exchange: ExchangeId,
    /// Known with the head of the response.
    layout: Option<SegmentLayout>,
    open: VecDeque<Segment>,
    next: u32,
    /// The segment before which the body is to end, if that is before its own end.
    end: Option<u32>,
    /// The engine, if it may close the body before its end, and that is worth to know.
    engine: Option<HeaderValue>,
    /// The segment before which the engine most likely closes the body.
    likely_end: Option<u32>,
    /// The buffer of the next read.
    buffer: BytesMut,
}

/// One segment's stream.
#[derive(Debug)]
struct Segment {
    stream: ReceiveStream,
    /// Its bytes that are not read.
    left: u64,
    permit: SegmentPermit,
}

impl Segments {
    /// The segments of the response of this exchange. Opens the first streams before the
    /// response, whose length is unknown or `expected`. `engine` is the one that requested an open-ended range.
    pub(super) async fn open(
        session: Session,
        exchange: ExchangeId,
        expected: Option<u64>,
        engine: Option<HeaderValue>,
    ) -> Result<Self, ExchangeError> {
        let share = session.segment_budget().share();
        share.observe(session.transport().path());
        let likely_end = engine.as_ref().and_then(|engine| share.range_habits().segments(engine));
        let initial = share.initial_segments().min(likely_end.unwrap_or(u32::MAX));
        let end = match expected.map(|length| length.div_ceil(u64::from(SEGMENT_BYTES))) {
            // A body of one segment or less needs no segment streams.
            Some(0 | 1) => 0,
            Some(count) => u32::try_from(count).unwrap_or(u32::MAX).min(initial),
            None => initial,
        };
        let (open, buffer) = (VecDeque::new(), BytesMut::new());
        let (layout, next) = (None, 0);
        let mut segments =
            Self { session, share, exchange, layout, open, next, end: None, engine, likely_end, buffer };
        segments.open_up_to(end).await?;
        Ok(segments)
    }

    /// Sets the layout, and closes the streams that the body does not need.
    pub(super) fn set_layout(&mut self, layout: SegmentLayout) {
        let surplus = self.next.saturating_sub(layout.count());
        // Dropping a stream tells the server to stop sending on it.
        self.open.truncate(self.open.len().saturating_sub(surplus as usize));
        self.next -= surplus;
        for (n, segment) in (0..).zip(&mut self.open) {
            segment.left = length_of(layout, n);
        }
        self.layout = Some(layout);
    }

    /// The next bytes of the body; `None` after the last segment, and after one that is shorter than announced.
    /// Opens those that follow, as the window allows.
    ///
    /// # Errors
    /// If a stream is interrupted, or longer than announced.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        self.share.set_reading(true);
        let read = self.read().await;
        self.share.set_reading(false);
        read
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        let end = self.end.or_else(|| Some(self.layout?.count())).unwrap_or(0);
        loop {
            self.open_up_to(end.min(self.likely_end.unwrap_or(end))).await?;
            let Some(segment) = self.open.front_mut() else {
                if self.next >= end {
                    return Ok(None);
                }
                // If the engine closes the body here, as it did with the last one, it does so at once.
                tokio::time::sleep(self.session.transport().path().rtt.max(CLOSE_DELAY_MIN)).await;
                self.likely_end = None;
                continue;
            };
            let read = tokio::select! {
                // In this order, so that a read that is ready sets no timer.
                biased;
                read = segment.next(&mut self.buffer) => read?,
                () = tokio::time::sleep(OBSERVATION_INTERVAL) => {
                    self.share.observe(self.session.transport().path());
                    continue;
                }
            };
            if read.is_some() || segment.left > 0 {
                return Ok(read);
            }
            self.open.pop_front();
            self.share.observe(self.session.transport().path());
        }
    }

    /// Ends the body early: after at least `lead` bytes more, and after what was requested already. Returns the bytes
    /// that are left then, or `None` if those are all.
    pub(super) fn shorten(&mut self, lead: u64) -> Option<u64> {
        let layout = self.layout.filter(|_| self.likely_end.is_none())?;
        let mut left: u64 = self.open.iter().map(|segment| segment.left).sum();
        let count = self.end.unwrap_or(layout.count());
        let mut end = self.next;
        while left < lead && end < count {
            left += length_of(layout, end);
            end += 1;
        }
        if end >= count {
            return None;
        }
        // The engine does not decide any more where this ends.
        (self.end, self.engine) = (Some(end), None);
        Some(left)
    }

    /// Whether every segment was read to its end, after [`Self::next`] has returned `None`.
    pub(super) fn are_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// The bytes that arrived of each open segment.
    pub(super) fn into_buffered(mut self) -> Vec<BufferedRun> {
        // The session ended it, and not the engine.
        self.engine = None;
        let mut runs = Vec::new();
        let mut gap = 0;
        for segment in std::mem::take(&mut self.open) {
            let chunks = segment.stream.into_arrived();
            let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            // A segment that is too long is wrong, and is requested again.
            if length == 0 || length > segment.left {
                gap += segment.left;
                continue;
            }
            runs.push(BufferedRun { gap, chunks, permit: Some(segment.permit) });
            gap = segment.left - length;
        }
        runs
    }

    /// Opens as many segments below `end` as the share of the body allows.
    async fn open_up_to(&mut self, end: u32) -> Result<(), ExchangeError> {
        while self.next < end
            && let Some(permit) = self.share.open(self.open.len())
        {
            let header = StreamHeader::Segment(SegmentHeader { exchange: self.exchange, n: self.next });
            let stream = self.session.transport().open_finished(&header).await?;
            let left = self.layout.map_or(0, |layout| length_of(layout, self.next));
            self.open.push_back(Segment { stream, left, permit });
            self.next += 1;
        }
        Ok(())
    }
}

/// Learns how much the engine has read.
impl Drop for Segments {
    fn drop(&mut self) {
        let (Some(engine), Some(layout)) = (self.engine.take(), self.layout) else { return };
        let first_open = self.next - self.open.len() as u32;
        let begun = self.open.front().is_some_and(|front| front.left < length_of(layout, first_open));
        let read = first_open + u32::from(begun);
        if read > 0 && first_open < layout.count() {
            self.share.range_habits().closed(engine, read);
        }
    }
}

impl Segment {
    /// Its next bytes, `None` at its end.
    async fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, ExchangeError> {
        if buffer.len() < FREE_BUFFER_BYTES_MIN {
            buffer.clear();
            buffer.resize(READ_BYTES_MAX, 0);
        }
        let Some(count) = self.stream.read(buffer).await? else { return Ok(None) };
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| ExchangeError::mismatch("a segment is longer than announced"))?;
        Ok(Some(buffer.split_to(count).freeze()))
    }
}

fn length_of(layout: SegmentLayout, n: u32) -> u64 {
    let range = layout.range(n);
    range.end - range.start
}
