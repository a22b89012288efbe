//! Limits the log lines that unauthenticated peers can cause: without it, a peer that connects and fails in
//! a loop fills the disk.
//!
//! `RateLimiter` is a pure value with the time as an argument. [`LogLimits`] has one for each kind of
//! line and reads the clock. Neither may ever wait: lines above the limit are suppressed and counted.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines of one kind without a pause between them, at most.
const BURST: u32 = 10;

/// Time between lines of one kind after the burst. This allows 8,640 lines of one kind a day, about 2 MB.
const INTERVAL: Duration = Duration::from_secs(10);

/// A token bucket: admits a burst, then one line per interval, and counts the suppressed ones.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    /// When the bucket is full again. Each admitted line moves it by one interval.
    full_at: Option<Instant>,
    suppressed: u64,
}

impl RateLimiter {
    /// `Some(suppressed)` if a line is admitted now: the number of lines suppressed since the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + INTERVAL;
        if full_at - now > INTERVAL * BURST {
            self.suppressed += 1;
            return None;
        }
        self.full_at = Some(full_at);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// A limiter for each kind of line. Limiters are never removed, so the number of kinds must be small, and a
/// peer must not be able to choose a kind freely.
#[derive(Debug)]
pub struct LogLimits<K>(Mutex<HashMap<K, RateLimiter>>);

impl<K> Default for LogLimits<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> LogLimits<K> {
    /// `Some(suppressed)` if a line of this kind may be logged now: the number of lines of this kind
    /// suppressed since the last one, as a field for the line, with `None` instead of zero.
    pub fn admit(&self, kind: K) -> Option<Option<u64>> {
        let mut limits = self.0.lock();
        let limiter = limits.entry(kind).or_default();
        let suppressed = limiter.admit(Instant::now())?;
        Some((suppressed > 0).then_some(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_burst_one_line_per_interval_is_admitted_with_the_count_of_suppressed_ones() {
        let start = Instant::now();
        let mut limiter = RateLimiter::default();
        let admitted = (0..1000).filter(|_| limiter.admit(start).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(limiter.admit(start + 9 * SECOND), None);
        assert_eq!(limiter.admit(start + 10 * SECOND), Some(991));
        assert_eq!(limiter.admit(start + 11 * SECOND), None);
        assert_eq!(limiter.admit(start + 20 * SECOND), Some(1));
    }

    #[test]
    fn a_day_of_flood_costs_one_line_per_interval() {
        let start = Instant::now();
        let mut limiter = RateLimiter::default();
        let day = (0..86_400 * 2).map(|half| start + half * SECOND / 2);
        let admitted = day.filter(|now| limiter.admit(*now).is_some()).count();
        assert_eq!(admitted, 10 + 86_400 / 10 - 1);
    }

    #[test]
    fn a_pause_allows_at_most_another_burst() {
        let start = Instant::now();
        let mut limiter = RateLimiter::default();
        let mut burst = |at: Instant| (0..100).filter(|_| limiter.admit(at).is_some()).count();
        assert_eq!(burst(start), 10);
        assert_eq!(burst(start + 20 * SECOND), 2);
        assert_eq!(burst(start + 10_000 * SECOND), 10);
    }

    #[test]
    fn a_clock_that_goes_back_admits_nothing_more() {
        let start = Instant::now() + 1000 * SECOND;
        let mut limiter = RateLimiter::default();
        assert!((0..10).all(|_| limiter.admit(start) == Some(0)));
        assert_eq!(limiter.admit(start - 500 * SECOND), None);
        assert_eq!(limiter.admit(start + 10 * SECOND), Some(1));
    }

    #[test]
    fn each_kind_of_line_has_its_own_limit() {
        let limits = LogLimits::default();
        let admitted = |kind: &'static str| (0..100).filter(|_| limits.admit(kind).is_some()).count();
        assert_eq!((admitted("one"), admitted("two")), (10, 10));
    }
}
