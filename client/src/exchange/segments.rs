//! The near end of a large body: opens the streams for its segments, and reads them in order.
//!
//! The streams that are open are the only window there is. Nobody reads, nothing more is opened,
//! and the server stops the CDN.

use super::body::Salvaged;
use super::broken::Broken;
use super::pieces::Pieces;
use super::{ExchangeError, write_opening};
use crate::tunnel::{Line, OpenSegment, Share};
use bytes::{Bytes, BytesMut};
use docxy_protocol::control::{SegmentHeader, StreamHeader};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENT_SIZE;
use docxy_protocol::segment::SegmentLayout;
use futures_util::FutureExt as _;
use quinn::RecvStream;
use std::collections::VecDeque;

/// Most bytes read at once. What has come is gathered up to here: packet by packet, hashing it and writing it
/// to the engine would cost more than the copy.
const CHUNK: usize = 64 * 1024;

/// A chunk with less room than this isn't worth a read: the next is begun.
const LEAST_ROOM: usize = 16 * 1024;

/// The open segment streams of one body.
#[derive(Debug)]
pub(super) struct Segments {
    line: Line,
    share: Share,
    exchange: u64,
    open: VecDeque<Place>,
    next: u32,
    /// Where the next bytes are read into.
    room: BytesMut,
}

/// One segment's stream.
#[derive(Debug)]
struct Place {
    stream: RecvStream,
    received: u64,
    place: OpenSegment,
}

impl Segments {
    /// For the answer to the request on stream `exchange`.
    pub(super) fn new(line: Line, exchange: u64) -> Self {
        let share = line.bulk().share();
        Self { share, line, exchange, open: VecDeque::new(), next: 0, room: BytesMut::new() }
    }

    /// Opens streams before anything is known of the body but, perhaps, its length.
    pub(super) async fn open_ahead(&mut self, expected: Option<u64>) -> Result<(), ExchangeError> {
        self.share.observe(self.line.connection());
        let ahead = self.share.ahead();
        let end = match expected.map(|length| length.div_ceil(u64::from(SEGMENT_SIZE))) {
            // It will come on the answering stream.
            Some(0 | 1) => 0,
            Some(count) => u32::try_from(count).unwrap_or(u32::MAX).min(ahead),
            None => ahead,
        };
        self.open_up_to(end).await
    }

    /// The next bytes of the body; `None` behind its last segment. `answer` says why one is short.
    ///
    /// # Errors
    /// Where the connection or a stream breaks, or a segment hasn't its exact length.
    pub(super) async fn next(
        &mut self,
        layout: SegmentLayout,
        answer: &mut Pieces,
    ) -> Result<Option<Bytes>, Broken> {
        loop {
            self.open_up_to(layout.count()).await.map_err(|error| match error {
                ExchangeError::Fault(fault) | ExchangeError::Overtaken(fault) => Broken::Failed(fault),
                ExchangeError::LineLost => self.broken(),
            })?;
            let current = self.current();
            let Some(place) = self.open.front_mut() else {
                return Ok(None);
            };
            let range = layout.range(current);
            let expected = range.end - range.start;
            if self.room.len() < LEAST_ROOM {
                self.room.clear();
                self.room.resize(CHUNK, 0);
            }
            match place.stream.read(&mut self.room).await? {
                Some(count) => {
                    place.received += count as u64;
                    if place.received > expected {
                        return Err(Broken::wrong("a segment is longer than announced"));
                    }
                    return Ok(Some(self.room.split_to(count).freeze()));
                }
                None if place.received == expected => {
                    self.open.pop_front();
                    self.share.observe(self.line.connection());
                }
                None => {
                    answer.next().await?;
                    return Err(Broken::wrong("a segment ended early"));
                }
            }
        }
    }

    /// What has arrived of every open segment.
    pub(super) fn salvage(self, layout: SegmentLayout) -> Vec<Salvaged> {
        let mut salvaged = Vec::new();
        for (n, mut open) in (self.current()..).zip(self.open) {
            let range = layout.range(n);
            let chunks = arrived(&mut open.stream);
            let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            // More than its length is nonsense, and nonsense is better asked for again.
            if length > 0 && open.received + length <= range.end - range.start {
                salvaged.push(Salvaged { at: range.start + open.received, chunks, place: Some(open.place) });
            }
        }
        salvaged
    }

    /// The segment that is read now.
    fn current(&self) -> u32 {
        self.next - u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    fn broken(&self) -> Broken {
        match self.line.connection().close_reason() {
            Some(reason) => Broken::lost(reason),
            None => Broken::lost("the stream was closed"),
        }
    }

    /// Closes the streams that were opened in hope and aren't needed.
    pub(super) fn trim(&mut self, layout: SegmentLayout) {
        let surplus = self.next.saturating_sub(layout.count());
        let kept = self.open.len().saturating_sub(surplus as usize);
        // Dropping a stream tells the server to stop sending on it.
        self.open.truncate(kept);
        self.next -= surplus;
    }

    /// Opens as many segments below `end` as the body's share allows.
    async fn open_up_to(&mut self, end: u32) -> Result<(), ExchangeError> {
        while self.next < end
            && let Some(place) = self.share.open(self.open.len())
        {
            let (send, stream) =
                self.line.connection().open_bi().await.map_err(|_| ExchangeError::LineLost)?;
            let opening = StreamHeader::Segment(SegmentHeader { exchange: self.exchange, n: self.next });
            let opening = frame::encode(&opening).map_err(super::unsendable)?;
            write_opening(send, &opening).await?;
            self.open.push_back(Place { stream, received: 0, place });
            self.next += 1;
        }
        Ok(())
    }
}

/// What a stream has received without a gap. quinn keeps that for its reader when a connection is
/// lost, and only says so behind it.
fn arrived(stream: &mut RecvStream) -> VecDeque<Bytes> {
    let mut chunks = VecDeque::new();
    while let Some(Ok(Some(chunk))) = stream.read_chunk(CHUNK, true).now_or_never() {
        chunks.push_back(chunk.bytes);
    }
    chunks
}
