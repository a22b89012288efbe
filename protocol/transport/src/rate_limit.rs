//! The rate at which sessions may send, whatever their congestion control allows.
//!
//! Counts the bytes of streams, not those of packets. Must never delay small responses: they are counted, and only
//! large bodies wait.

use docxy_protocol::congestion::{Rate, TokenBucket};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// A limit that sessions share. Clones share it too.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Arc<Mutex<Option<TokenBucket>>>);

impl RateLimit {
    /// Changes the rate; `None` is no limit.
    pub fn set(&self, rate: Option<Rate>) {
        let mut bucket = self.0.lock();
        match (&mut *bucket, rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate),
            (bucket, rate) => *bucket = rate.map(|rate| TokenBucket::new(rate, Instant::now())),
        }
    }

    /// Counts bytes that are sent now.
    pub(crate) fn count(&self, bytes: usize) {
        self.take(bytes);
    }

    /// Waits until these bytes may be sent.
    pub(crate) async fn wait(&self, bytes: usize) {
        if let Some(due) = self.take(bytes) {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// When the bytes are due; `None` if that has passed.
    fn take(&self, bytes: usize) -> Option<Instant> {
        let (mut bucket, now) = (self.0.lock(), Instant::now());
        bucket.as_mut().map(|bucket| bucket.take(bytes, now)).filter(|due| *due > now)
    }
}
