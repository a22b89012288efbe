//! The segment streams that a client offers for an answer, and in which order they are sent.
//!
//! The client opens every stream, so an offer may arrive before its request has been read or
//! after its answer has ended. Streams are accepted in the order in which they were opened, and a
//! request is opened before its segments: whoever is known neither as running nor as just opened
//! has ended, and its offers are turned away at once.

use super::outgoing::{Outgoing, SendError};
use docxy_protocol::control::Segment;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// The offers of one connection, by exchange.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offered {
    exchanges: Arc<Mutex<Running>>,
}

/// Where the offers to each running exchange go, by the number of its request's stream.
type Running = HashMap<u64, mpsc::UnboundedSender<(u32, Outgoing)>>;

impl Offered {
    /// Makes a place for the offers to the exchange on this stream, which has just been accepted.
    pub(crate) fn expect(&self, exchange: u64) -> Offers {
        // Unbounded, but each entry is a stream, and QUIC bounds the streams of a connection.
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().insert(exchange, sender);
        Offers { exchange, offered: self.clone(), receiver, early: BTreeMap::new() }
    }

    /// Hands an offer to its exchange. One that nobody waits for is dropped, and so turned away.
    pub(crate) fn offer(&self, segment: Segment, stream: Outgoing) {
        if let Some(sender) = self.lock().get(&segment.exchange) {
            let _ = sender.send((segment.n, stream));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The offers to one exchange.
#[derive(Debug)]
pub(crate) struct Offers {
    exchange: u64,
    offered: Offered,
    receiver: mpsc::UnboundedReceiver<(u32, Outgoing)>,
    early: BTreeMap<u32, Outgoing>,
}

impl Offers {
    /// Waits for the stream of segment `n`. Offers may come in any order.
    pub(crate) async fn take(&mut self, n: u32) -> Result<Outgoing, SendError> {
        loop {
            if let Some(stream) = self.early.remove(&n) {
                return Ok(stream);
            }
            let (offered, stream) = self.receiver.recv().await.ok_or(SendError)?;
            self.early.insert(offered, stream);
        }
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        self.offered.lock().remove(&self.exchange);
    }
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
