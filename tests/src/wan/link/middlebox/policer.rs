//! A token-bucket policer, as operators use for one kind of traffic.
//! Must never delay a packet: it passes at once or is dropped.

use std::time::Duration;

use crate::wan::link::rate::Rate;

/// Passes a burst at once, and `rate` in the long run.
#[derive(Clone, Copy, Debug)]
pub(in crate::wan) struct Policer {
    rate: Rate,
    /// The size of the bucket. Tokens are counted as the time that it takes to earn them: that is exact, while
    /// bytes would be rounded at each packet.
    depth: Duration,
    credit: Duration,
    earned_until: Duration,
}

impl Policer {
    /// A policer with a full bucket.
    pub(in crate::wan) fn new(now: Duration, rate: Rate, burst: u64) -> Self {
        let depth = rate.time_for(burst);
        Self { rate, depth, credit: depth, earned_until: now }
    }

    /// Whether this many bytes pass `now`; if so, takes their tokens.
    pub(in crate::wan) fn passes(&mut self, now: Duration, bytes: u64) -> bool {
        self.credit = (self.credit + now.saturating_sub(self.earned_until)).min(self.depth);
        self.earned_until = now;
        match self.credit.checked_sub(self.rate.time_for(bytes)) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(5);

    #[test]
    fn only_one_burst_passes_at_once() {
        let mut policer = Policer::new(START, Rate::mbit(20), 15_000);
        let passed = (0..100).filter(|_| policer.passes(START, 1500)).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn in_the_long_run_the_rate_passes() {
        let mut policer = Policer::new(START, Rate::mbit(20), 15_000);
        // Full packets at 100 Mbit/s for ten seconds.
        let times = (0..83_333).map(|n| START + n * Duration::from_micros(120));
        let bytes: u64 = times.filter(|now| policer.passes(*now, 1500)).map(|_| 1500).sum();
        let expected = 15_000 + Rate::mbit(20).bytes_in(Duration::from_secs(10));
        assert!(bytes.abs_diff(expected) <= 1500, "{bytes} bytes, not {expected}");
    }

    #[test]
    fn idle_time_fills_the_bucket_at_most() {
        let mut policer = Policer::new(START, Rate::mbit(20), 3000);
        assert!(!policer.passes(START, 3001));
        let later = START + Duration::from_secs(60);
        assert!(policer.passes(later, 3000));
        assert!(!policer.passes(later, 1));
    }
}
