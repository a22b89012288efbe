//! A token bucket: what an operator polices a kind of traffic with.
//! Must never delay a packet: it passes at once or not at all.

use std::time::Duration;

use super::Rate;

/// Lets through a burst at once, and `rate` in the long run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policer {
    rate: Rate,
    /// What the bucket can hold. Tokens are kept as the time that they take to earn: exact, where bytes would be
    /// rounded at every packet.
    depth: Duration,
    credit: Duration,
    earned_until: Duration,
}

impl Policer {
    /// A full bucket.
    pub(super) fn new(now: Duration, rate: Rate, burst: u64) -> Self {
        let depth = rate.time_for(burst);
        Self { rate, depth, credit: depth, earned_until: now }
    }

    /// Whether so many bytes pass `now`; if they do, they are paid for.
    pub(super) fn passes(&mut self, now: Duration, bytes: u64) -> bool {
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
    fn a_burst_passes_at_once_and_no_more() {
        let mut policer = Policer::new(START, Rate::mbit(20), 15_000);
        let passed = (0..100).filter(|_| policer.passes(START, 1500)).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn in_the_long_run_its_rate_passes() {
        let mut policer = Policer::new(START, Rate::mbit(20), 15_000);
        // 100 Mbit/s of full packets for ten seconds.
        let times = (0..83_333).map(|n| START + n * Duration::from_micros(120));
        let bytes: u64 = times.filter(|now| policer.passes(*now, 1500)).map(|_| 1500).sum();
        let expected = 15_000 + Rate::mbit(20).bytes_in(Duration::from_secs(10));
        assert!(bytes.abs_diff(expected) <= 1500, "{bytes} bytes, not {expected}");
    }

    #[test]
    fn idle_time_earns_no_more_than_the_bucket_holds() {
        let mut policer = Policer::new(START, Rate::mbit(20), 3000);
        assert!(!policer.passes(START, 3001));
        let later = START + Duration::from_secs(60);
        assert!(policer.passes(later, 3000));
        assert!(!policer.passes(later, 1));
    }
}
