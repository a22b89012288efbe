//! The segment streams that a client opened for its exchanges, and in which order they are sent.
//!
//! The client opens every stream, so a segment stream may arrive before its request has been read or
//! after its response has ended. Streams are accepted in the order in which they were opened, and a
//! request's before those of its segments: a segment of an exchange that is not registered belongs to
//! one that has ended, and its stream is reset at once. A segment stream costs no task and no channel.

use super::outgoing::Outgoing;
use docxy_protocol::control::SegmentHeader;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};
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
    streams: Mutex<BTreeMap<u32, Outgoing>>,
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
    pub(crate) fn add(&self, segment: SegmentHeader, stream: Outgoing) {
        let pending = lock(&self.exchanges).get(&segment.exchange).cloned();
        if let Some(pending) = pending {
            lock(&pending.streams).insert(segment.n, stream);
            pending.arrived.notify_one();
        }
    }
}

impl ExchangeSegments {
    /// Waits for the stream of segment `n`. Segments may arrive in any order.
    pub(crate) async fn take(&mut self, n: u32) -> Outgoing {
        loop {
            if let Some(stream) = lock(&self.pending.streams).remove(&n) {
                return stream;
            }
            // A notification is stored, so one between the look and the wait is not missed.
            self.pending.arrived.notified().await;
        }
    }
}

impl Drop for ExchangeSegments {
    fn drop(&mut self) {
        lock(&self.all.exchanges).remove(&self.exchange);
    }
}

/// A panic elsewhere leaves a map of whole entries behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
/// Numbers the segments of a connection in the order in which they are begun, over all its
/// bodies: older ones go first, also when they are lost and sent again, and no body starves
/// another. Small answers have rank 0 and pass them all. (Measured at 200 ms and 5 % loss: with one rank
/// for all the first 12 s carry 75.8 instead of 82.9 % of 100 Mbit/s, and 67.9 instead of 78.6 % of 300:
/// the line carries what comes later, while its reader waits for what comes next.)
#[derive(Debug, Default)]
pub(crate) struct Ranks(AtomicI32);

impl Ranks {
    pub(crate) fn next(&self) -> i32 {
        // After 2^31 segments, a petabyte, the order is off for a moment and nothing else is.
        (self.0.fetch_add(1, Ordering::Relaxed) & i32::MAX).saturating_add(1)
    }
}
