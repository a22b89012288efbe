//! Opens the streams for the segments of a large body, and reads them in order.
//!
//! The open streams are the only window. While the engine does not read, no stream is opened, and the server
//! stops reading from the CDN.

use super::body_error::BodyError;
use super::buffered_range::BufferedRange;
use super::chunk_reader::ChunkReader;
use super::error::{ExchangeError, unencodable};
use crate::tunnel::{BodyShare, SegmentPermit, Session};
use bytes::{Bytes, BytesMut};
use docxy_protocol::control::{ExchangeId, SegmentHeader, StreamHeader};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENT_SIZE;
use docxy_protocol::segment::SegmentLayout;
use docxy_transport::ReceiveStream;
use std::collections::VecDeque;

/// The most bytes in one read. Reads gather up to this much: hashing and writing each packet alone would cost
/// more than the copy.
const READ_MAX: usize = 64 * 1024;

/// A buffer with less free space than this is replaced before the next read.
const READ_MIN: usize = 16 * 1024;

/// The open segment streams of one body.
#[derive(Debug)]
pub(super) struct Segments {
    session: Session,
    share: BodyShare,
    exchange: ExchangeId,
    open: VecDeque<SegmentStream>,
    next: u32,
    /// The buffer of the next read.
    buffer: BytesMut,
}

/// One segment's stream.
#[derive(Debug)]
struct SegmentStream {
    stream: ReceiveStream,
    received: u64,
    permit: SegmentPermit,
}

impl Segments {
    /// The segments of the response of this exchange.
    pub(super) fn new(session: Session, exchange: ExchangeId) -> Self {
        let share = session.segment_budget().share();
        Self { share, session, exchange, open: VecDeque::new(), next: 0, buffer: BytesMut::new() }
    }

    /// Opens the first streams before the response, whose length is unknown or `expected`.
    pub(super) async fn open_initial(&mut self, expected: Option<u64>) -> Result<(), ExchangeError> {
        self.share.observe(self.session.transport().path());
        let initial = self.share.initial_segments();
        let end = match expected.map(|length| length.div_ceil(u64::from(SEGMENT_SIZE))) {
            // It fits on the stream of the response.
            Some(0 | 1) => 0,
            Some(count) => u32::try_from(count).unwrap_or(u32::MAX).min(initial),
            None => initial,
        };
        self.open_up_to(end).await
    }

    /// The next bytes of the body, `None` after the last segment. `main` is the stream of the response, which
    /// reports why a segment is short.
    ///
    /// # Errors
    /// If the connection or a stream is interrupted, or a segment has another length.
    pub(super) async fn next(
        &mut self,
        layout: SegmentLayout,
        main: &mut ChunkReader,
    ) -> Result<Option<Bytes>, BodyError> {
        loop {
            self.open_up_to(layout.count()).await.map_err(|error| match error {
                ExchangeError::Fault(fault) | ExchangeError::ResetBeforeHead(fault) => {
                    BodyError::Permanent(fault)
                }
                ExchangeError::ConnectionLost(reason) => BodyError::connection_lost(reason),
            })?;
            let current = self.current();
            let Some(segment) = self.open.front_mut() else {
                return Ok(None);
            };
            let range = layout.range(current);
            let expected = range.end - range.start;
            if self.buffer.len() < READ_MIN {
                self.buffer.clear();
                self.buffer.resize(READ_MAX, 0);
            }
            match segment.stream.read(&mut self.buffer).await? {
                Some(count) => {
                    segment.received += count as u64;
                    if segment.received > expected {
                        return Err(BodyError::mismatch("a segment is longer than announced"));
                    }
                    return Ok(Some(self.buffer.split_to(count).freeze()));
                }
                None if segment.received == expected => {
                    self.open.pop_front();
                    self.share.observe(self.session.transport().path());
                }
                None => {
                    main.next().await?;
                    return Err(BodyError::mismatch("a segment ended early"));
                }
            }
        }
    }

    /// The bytes that arrived of each open segment.
    pub(super) fn into_buffered(self, layout: SegmentLayout) -> Vec<BufferedRange> {
        let mut buffered = Vec::new();
        for (n, open) in (self.current()..).zip(self.open) {
            let range = layout.range(n);
            let chunks = open.stream.into_arrived();
            let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            // A segment that is too long is wrong, and is requested again.
            if length > 0 && open.received + length <= range.end - range.start {
                buffered.push(BufferedRange {
                    at: range.start + open.received,
                    chunks,
                    permit: Some(open.permit),
                });
            }
        }
        buffered
    }

    /// The number of the segment that is being read.
    fn current(&self) -> u32 {
        self.next - u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    /// Closes the streams that the body does not need.
    pub(super) fn close_surplus(&mut self, layout: SegmentLayout) {
        let surplus = self.next.saturating_sub(layout.count());
        let needed = self.open.len().saturating_sub(surplus as usize);
        // Dropping a stream tells the server to stop sending on it.
        self.open.truncate(needed);
        self.next -= surplus;
    }

    /// Opens as many segments below `end` as the share of the body allows.
    async fn open_up_to(&mut self, end: u32) -> Result<(), ExchangeError> {
        while self.next < end
            && let Some(permit) = self.share.open(self.open.len())
        {
            let header = StreamHeader::Segment(SegmentHeader { exchange: self.exchange, n: self.next });
            let header = frame::encode(&header).map_err(unencodable)?;
            let stream = self.session.transport().ask(header).await?;
            self.open.push_back(SegmentStream { stream, received: 0, permit });
            self.next += 1;
        }
        Ok(())
    }
}
