//! The near end of a large body: opens the streams for its segments, and reads them in order.
//!
//! The streams that are open are the only window there is. Nobody reads, nothing more is opened,
//! and the server stops the CDN.

use super::pieces::Pieces;
use super::{ExchangeError, write_opening};
use crate::tunnel::{Line, OpenSegment, Share};
use bytes::Bytes;
use docxy_protocol::control::{Opening, Segment};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENTS_AHEAD;
use docxy_protocol::segment::Layout;
use quinn::RecvStream;
use std::collections::VecDeque;

/// Most bytes read at once: a few packets' worth, so that the engine gets them while they are warm.
const CHUNK: usize = 64 * 1024;

/// The open segment streams of one body.
#[derive(Debug)]
pub(super) struct Segments {
    line: Line,
    share: Share,
    exchange: u64,
    open: VecDeque<Place>,
    next: u32,
}

/// One segment's stream.
#[derive(Debug)]
struct Place {
    stream: RecvStream,
    received: u64,
    _place: OpenSegment,
}

impl Segments {
    /// For the answer to the request on stream `exchange`.
    pub(super) fn new(line: Line, exchange: u64) -> Self {
        Self { share: line.bulk().share(), line, exchange, open: VecDeque::new(), next: 0 }
    }

    /// Opens streams before anything is known of the body.
    pub(super) async fn open_ahead(&mut self) -> Result<(), ExchangeError> {
        self.share.observe(self.line.connection());
        self.open_up_to(SEGMENTS_AHEAD).await
    }

    /// The next bytes of the body; `None` behind its last segment. `answer` says why one is short.
    ///
    /// # Errors
    /// Where the connection or a stream breaks, or a segment hasn't its exact length.
    pub(super) async fn next(&mut self, layout: Layout, answer: &mut Pieces) -> Result<Option<Bytes>, Fault> {
        loop {
            self.open_up_to(layout.count()).await.map_err(|error| match error {
                ExchangeError::Fault(fault) | ExchangeError::Overtaken(fault) => fault,
                ExchangeError::LineLost => broken(&self.line),
            })?;
            let current = self.next - u32::try_from(self.open.len()).unwrap_or(u32::MAX);
            let Some(place) = self.open.front_mut() else {
                return Ok(None);
            };
            let range = layout.range(current);
            let expected = range.end - range.start;
            match place.stream.read_chunk(CHUNK, true).await {
                Ok(Some(chunk)) => {
                    place.received += chunk.bytes.len() as u64;
                    if place.received > expected {
                        return Err(truncated("a segment is longer than announced"));
                    }
                    return Ok(Some(chunk.bytes));
                }
                Ok(None) if place.received == expected => {
                    self.open.pop_front();
                    self.share.observe(self.line.connection());
                }
                Ok(None) => {
                    answer.next().await?;
                    return Err(truncated("a segment ended early"));
                }
                Err(quinn::ReadError::Reset(code)) => return Err(Fault::of_reset(code.into_inner())),
                Err(_) => return Err(broken(&self.line)),
            }
        }
    }

    /// Closes the streams that were opened in hope and aren't needed.
    pub(super) fn trim(&mut self, layout: Layout) {
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
            let opening = Opening::Segment(Segment { exchange: self.exchange, n: self.next });
            let opening = frame::encode(&opening).map_err(super::unsendable)?;
            write_opening(send, &opening).await?;
            self.open.push_back(Place { stream, received: 0, _place: place });
            self.next += 1;
        }
        Ok(())
    }
}

pub(super) fn truncated(detail: &str) -> Fault {
    Fault::new(Hop::Tunnel, FaultKind::Truncated, detail)
}

/// A stream that ended with its connection.
pub(super) fn broken(line: &Line) -> Fault {
    let reason = line.connection().close_reason();
    let reason = reason.map_or_else(|| "the stream was closed".to_owned(), |reason| reason.to_string());
    Fault::new(
        Hop::Tunnel,
        FaultKind::Truncated,
        format!("the connection was lost in mid-transfer: {reason}"),
    )
}
