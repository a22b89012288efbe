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
pub struct RateLimit {
    bucket: Arc<Mutex<Option<TokenBucket>>>,
    /// The limit that holds as well, which others share.
    outer: Option<Arc<Self>>,
}

impl RateLimit {
    /// The same limit, within another one that holds as well. Clones that were made before are not within it.
    #[must_use]
    pub fn within(self, outer: Self) -> Self {
        Self { outer: Some(Arc::new(outer)), ..self }
    }

    /// Changes the rate; `None` is no limit.
    pub fn set(&self, rate: Option<Rate>) {
        let mut bucket = self.bucket.lock();
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
        let outer = self.outer.as_ref().and_then(|outer| outer.take(bytes));
        let (mut bucket, now) = (self.bucket.lock(), Instant::now());
        bucket.as_mut().map(|bucket| bucket.take(bytes, now)).filter(|due| *due > now).max(outer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn of_two_limits_the_lower_one_counts_and_what_both_send_counts_for_the_outer_one() {
        let limit = |rate: Option<&str>| {
            let limit = RateLimit::default();
            limit.set(rate.map(|rate| rate.parse().unwrap()));
            limit
        };
        let is_limited = |limit: &RateLimit| limit.take(1).is_some_and(|due| due > Instant::now() + MINUTE);
        const MINUTE: Duration = Duration::from_secs(60);
        // Two minutes at the lower rate, and less than a minute at the higher one.
        const BYTES: usize = 15_000_000;
        for (inner, outer) in [("1 Mbit/s", "1 Gbit/s"), ("1 Gbit/s", "1 Mbit/s")] {
            let outer_is_lower = outer == "1 Mbit/s";
            let outer = limit(Some(outer));
            let first = limit(Some(inner)).within(outer.clone());
            let (second, other) = (limit(None).within(outer), limit(None));
            first.count(BYTES);
            assert!(is_limited(&first));
            assert_eq!(is_limited(&second), outer_is_lower);
            assert!(!is_limited(&other));
        }
    }
}
