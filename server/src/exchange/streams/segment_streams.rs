//! The segment streams that a client opened for its exchanges.
//!
//! The client opens every stream, so a segment stream may arrive before its request has been read, or after
//! its response has ended. A late one is reset at once. An early one waits for its exchange, in bounded number
//! and for a bounded time; one whose exchange never comes is dropped, and so reset. A segment stream costs no
//! task and no channel.

use super::response_stream::ResponseStream;
use docxy_protocol::control::{ExchangeId, SegmentHeader};
use docxy_protocol::limits::{EARLY_SEGMENTS_MAX, STREAM_HEADER_TIMEOUT};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// How many exchanges that ended last are known, to recognize their late segments. Others wait as early ones do.
const ENDED_EXCHANGES_MAX: usize = 256;

/// The segment streams of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentStreams(Arc<Mutex<Exchanges>>);

#[derive(Debug, Default)]
struct Exchanges {
    running: HashMap<ExchangeId, Arc<Pending>>,
    /// The exchanges that ended last, the oldest first.
    ended: VecDeque<ExchangeId>,
    /// The streams that wait for their exchange, the oldest first.
    early: VecDeque<(Instant, SegmentHeader, ResponseStream)>,
}

/// The segment streams of one exchange that are not filled yet, by the number of their segment. The leg
/// bounds the streams of a session, and so the entries here.
#[derive(Debug, Default)]
struct Pending {
    streams: Mutex<BTreeMap<u32, ResponseStream>>,
    arrived: Notify,
}

/// One exchange's segment streams, until it is dropped.
#[derive(Debug)]
pub(crate) struct ExchangeSegments {
    exchange: ExchangeId,
    all: SegmentStreams,
    pending: Arc<Pending>,
}

impl SegmentStreams {
    /// Expects segments for this exchange, of which some may wait already. `None` if it is running.
    pub(crate) fn register(&self, exchange: ExchangeId) -> Option<ExchangeSegments> {
        let mut exchanges = self.0.lock();
        if exchanges.running.contains_key(&exchange) {
            return None;
        }
        let (own, early) =
            std::mem::take(&mut exchanges.early).into_iter().partition(|early| early.1.exchange == exchange);
        exchanges.early = early;
        let own: VecDeque<(Instant, SegmentHeader, ResponseStream)> = own;
        let streams = own.into_iter().map(|(_, segment, stream)| (segment.n, stream)).collect();
        let pending = Arc::new(Pending { streams: Mutex::new(streams), arrived: Notify::new() });
        exchanges.running.insert(exchange, Arc::clone(&pending));
        Some(ExchangeSegments { exchange, all: self.clone(), pending })
    }

    /// Hands a segment's stream to its exchange, or keeps it until that comes. Drops it if that has ended.
    pub(crate) fn add(&self, segment: SegmentHeader, stream: ResponseStream, now: Instant) {
        let mut exchanges = self.0.lock();
        if let Some(pending) = exchanges.running.get(&segment.exchange) {
            pending.streams.lock().insert(segment.n, stream);
            pending.arrived.notify_one();
            return;
        }
        if exchanges.ended.contains(&segment.exchange) {
            return;
        }
        exchanges.early.push_back((now, segment, stream));
        if exchanges.early.len() > EARLY_SEGMENTS_MAX {
            exchanges.early.pop_front();
        }
    }

    /// Drops the streams that have waited for longer than a request's header may take.
    pub(crate) fn drop_late(&self, now: Instant) {
        let is_late =
            |(since, ..): &(Instant, _, _)| now.saturating_duration_since(*since) > STREAM_HEADER_TIMEOUT;
        self.0.lock().early.retain(|early| !is_late(early));
    }
}

impl ExchangeSegments {
    /// Waits for the stream of segment `n`. Segments may arrive in any order.
    pub(crate) async fn take(&mut self, n: u32) -> ResponseStream {
        loop {
            if let Some(stream) = self.pending.streams.lock().remove(&n) {
                return stream;
            }
            // A notification is stored, so one before this line is not missed.
            self.pending.arrived.notified().await;
        }
    }
}

impl Drop for ExchangeSegments {
    fn drop(&mut self) {
        let mut exchanges = self.all.0.lock();
        exchanges.running.remove(&self.exchange);
        exchanges.ended.push_back(self.exchange);
        if exchanges.ended.len() > ENDED_EXCHANGES_MAX {
            exchanges.ended.pop_front();
        }
    }
}
