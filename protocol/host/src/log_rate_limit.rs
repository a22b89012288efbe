//! How many log lines somebody who has not been authenticated may cause: without a limit, a peer
//! that connects and fails in a loop fills the disk.
//!
//! [`RateLimiter`] is a pure value with the time as an argument. [`LogLimits`] holds one for each kind
//! of line and reads the clock. Neither may ever wait: a line that is too many is left out and counted.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that may follow one another without a pause.
const BURST: u32 = 10;

/// Time between lines of one kind after the burst. A kind that is provoked without end costs 8,640
/// lines a day, some 2 MB.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets a burst through, then one each interval (a token bucket), and counts the rest.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    interval: Duration,
    burst: u32,
    /// When the bucket is full again. One entry costs one interval.
    full_at: Option<Instant>,
    suppressed: u64,
}

impl RateLimiter {
    /// `burst` at once, then one each `interval`.
    #[must_use]
    pub const fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, burst, full_at: None, suppressed: 0 }
    }

    /// Whether one more may pass now. If so: how many did not since the last one that did.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + self.interval;
        if full_at - now > self.interval * self.burst {
            self.suppressed += 1;
            return None;
        }
        self.full_at = Some(full_at);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// A limiter for each kind of line. There must be a small, fixed number of kinds: none is ever
/// forgotten, so a kind must not be made of anything that a peer chooses freely.
#[derive(Debug)]
pub struct LogLimits<K>(Mutex<HashMap<K, RateLimiter>>);

impl<K> Default for LogLimits<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> LogLimits<K> {
    /// Whether a line of this kind may be logged now. `Some(suppressed)` if so: how many of its kind
    /// were left out since the last one, `None` in the place of zero, ready to be a field of the line.
    pub fn admit(&self, kind: K) -> Option<Option<u64>> {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = limits.entry(kind).or_insert_with(|| RateLimiter::new(BURST, INTERVAL));
        let suppressed = limiter.admit(Instant::now())?;
        Some((suppressed > 0).then_some(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_each_interval_with_a_count_of_the_others() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(10, 10 * SECOND);
        let passed = (0..1000).filter(|_| limiter.admit(start).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(limiter.admit(start + 9 * SECOND), None);
        assert_eq!(limiter.admit(start + 10 * SECOND), Some(991));
        assert_eq!(limiter.admit(start + 11 * SECOND), None);
        assert_eq!(limiter.admit(start + 20 * SECOND), Some(1));
    }

    #[test]
    fn a_flood_of_a_day_costs_a_line_each_interval() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(10, 10 * SECOND);
        let day = (0..86_400 * 2).map(|half| start + half * SECOND / 2);
        let passed = day.filter(|now| limiter.admit(*now).is_some()).count();
        assert_eq!(passed, 10 + 86_400 / 10 - 1);
    }

    #[test]
    fn a_pause_fills_the_bucket_and_no_more_than_that() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(3, SECOND);
        let mut burst = |at: Instant| (0..10).filter(|_| limiter.admit(at).is_some()).count();
        assert_eq!(burst(start), 3);
        assert_eq!(burst(start + 2 * SECOND), 2);
        assert_eq!(burst(start + 1000 * SECOND), 3);
    }

    #[test]
    fn a_clock_that_goes_back_lets_nothing_more_through() {
        let start = Instant::now() + 1000 * SECOND;
        let mut limiter = RateLimiter::new(1, SECOND);
        assert_eq!(limiter.admit(start), Some(0));
        assert_eq!(limiter.admit(start - 500 * SECOND), None);
        assert_eq!(limiter.admit(start + SECOND), Some(1));
    }

    #[test]
    fn one_kind_of_line_does_not_use_up_what_another_may() {
        let limits = LogLimits::default();
        let passed = |kind: &'static str| (0..100).filter(|_| limits.admit(kind).is_some()).count();
        assert_eq!((passed("one"), passed("two")), (10, 10));
    }
}
