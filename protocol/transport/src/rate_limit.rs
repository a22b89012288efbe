//! The rate at which sessions may send, whatever their congestion control allows.
//!
//! Must never delay what is small for a large body: that one waits for both, and what is small only for its own kind.

use crate::session::Traffic;
use docxy_protocol::congestion::{Rate, TokenBucket};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// A limit that sessions share. Clones share it too.
#[derive(Debug, Clone, Default)]
pub struct RateLimit {
    buckets: Arc<Mutex<Option<Buckets>>>,
    /// The limit that holds as well, which others share.
    outer: Option<Arc<Self>>,
}

#[derive(Debug)]
struct Buckets {
    all: TokenBucket,
    small: TokenBucket,
}

impl RateLimit {
    /// The same limit, within another one that holds as well. Clones that were made before are not within it.
    #[must_use]
    pub fn within(self, outer: Self) -> Self {
        Self { outer: Some(Arc::new(outer)), ..self }
    }

    /// Changes the rate; `None` is no limit.
    pub fn set(&self, rate: Option<Rate>) {
        let mut buckets = self.buckets.lock();
        match (&mut *buckets, rate) {
            (Some(buckets), Some(rate)) => {
                buckets.all.set_rate(rate);
                buckets.small.set_rate(rate);
            }
            (buckets, rate) => {
                let bucket = |rate| TokenBucket::new(rate, Instant::now());
                *buckets = rate.map(|rate| Buckets { all: bucket(rate), small: bucket(rate) });
            }
        }
    }

    /// Whether there is a limit.
    pub(crate) fn is_set(&self) -> bool {
        self.buckets.lock().is_some() || self.outer.as_ref().is_some_and(|outer| outer.is_set())
    }

    /// Counts bytes that are sent now.
    pub(crate) fn count(&self, bytes: usize) {
        self.take(bytes, Traffic::Bulk);
    }

    /// Waits until these bytes may be sent.
    pub(crate) async fn wait(&self, bytes: usize, traffic: Traffic) {
        if let Some(due) = self.take(bytes, traffic) {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// When the bytes are due; `None` if that has passed.
    fn take(&self, bytes: usize, traffic: Traffic) -> Option<Instant> {
        let outer = self.outer.as_ref().and_then(|outer| outer.take(bytes, traffic));
        let (mut buckets, now) = (self.buckets.lock(), Instant::now());
        let due = buckets.as_mut().map(|Buckets { all, small }| {
            let due = all.take(bytes, now);
            if traffic == Traffic::Small { small.take(bytes, now) } else { due }
        });
        due.filter(|due| *due > now).max(outer)
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
        let is_limited =
            |limit: &RateLimit| limit.take(1, Traffic::Bulk).is_some_and(|due| due > Instant::now() + MINUTE);
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
            // What is small waits only for its own kind.
            assert_eq!(first.take(BYTES, Traffic::Small), None);
            assert!(first.take(1, Traffic::Small).is_some());
        }
    }
}
