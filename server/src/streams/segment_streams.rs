//! The segment streams that a client opened for its exchanges.
//!
//! The client opens every stream, so a segment stream may arrive before its request has been read or
//! after its response has ended. Streams are accepted in the order in which they were opened, and a
//! request's before those of its segments: a segment of an exchange that is not registered belongs to
//! one that has ended, and its stream is reset at once. A segment stream costs no task and no channel.

use super::response_stream::ResponseStream;
use docxy_protocol::control::SegmentHeader;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The segment streams of one connection, by exchange.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentStreams {
    exchanges: Arc<Mutex<HashMap<u64, Arc<Pending>>>>,
}

/// The segment streams of one exchange that are not filled yet, by the number of their segment. QUIC
/// bounds the streams of a connection, and so the entries here.
#[derive(Debug, Default)]
struct Pending {
    streams: Mutex<BTreeMap<u32, ResponseStream>>,
    arrived: Notify,
}

/// One exchange's segment streams, until it is dropped.
#[derive(Debug)]
pub(crate) struct ExchangeSegments {
    exchange: u64,
    all: SegmentStreams,
    pending: Arc<Pending>,
}

impl SegmentStreams {
    /// Expects segments for the exchange on this stream, which has just been accepted.
    pub(crate) fn register(&self, exchange: u64) -> ExchangeSegments {
        let pending = Arc::<Pending>::default();
        lock(&self.exchanges).insert(exchange, Arc::clone(&pending));
        ExchangeSegments { exchange, all: self.clone(), pending }
    }

    /// Hands a segment's stream to its exchange. It is dropped, and so reset, if that has ended.
    pub(crate) fn add(&self, segment: SegmentHeader, stream: ResponseStream) {
        let pending = lock(&self.exchanges).get(&segment.exchange).cloned();
        if let Some(pending) = pending {
            lock(&pending.streams).insert(segment.n, stream);
            pending.arrived.notify_one();
        }
    }
}

impl ExchangeSegments {
    /// Waits for the stream of segment `n`. Segments may arrive in any order.
    pub(crate) async fn take(&mut self, n: u32) -> ResponseStream {
        loop {
            if let Some(stream) = lock(&self.pending.streams).remove(&n) {
                return stream;
            }
            // A notification is stored, so one before this line is not missed.
            self.pending.arrived.notified().await;
        }
    }
}

impl Drop for ExchangeSegments {
    fn drop(&mut self) {
        lock(&self.all.exchanges).remove(&self.exchange);
    }
}

/// After a panic elsewhere the map is still consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
