//! The slowest hop of a link: a rate, and a drop-tail queue before it.
//! Must never hold a packet: when each will have left is known from the moment it comes.

use std::time::Duration;

use super::Rate;

/// A queue that is emptied at a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bottleneck {
    /// `None` passes everything at once.
    rate: Option<Rate>,
    /// The most bytes in the queue, the packet on its direction out included.
    limit: u64,
    /// When all that has come so far will have left.
    free_at: Duration,
    peak: u64,
}

/// How a new rate changes the times at which the queued packets leave: what was still to come after `since` takes
/// `factor` times as long.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeScale {
    since: Duration,
    factor: f64,
}

impl Bottleneck {
    pub(super) fn new(rate: Option<Rate>, limit: u64) -> Self {
        Self { rate, limit, free_at: Duration::ZERO, peak: 0 }
    }

    /// When the last bit of a packet that comes `now` will have left, or `None` if the queue has no room for it.
    pub(super) fn admit(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        let Some(rate) = self.rate else { return Some(now) };
        let starts = self.free_at.max(now);
        let queued = rate.bytes_in(starts - now) + bytes;
        if queued > self.limit {
            return None;
        }
        self.peak = self.peak.max(queued);
        self.free_at = starts + rate.time_for(bytes);
        Some(self.free_at)
    }

    /// Another rate and limit from `now` on. What is queued stays queued, and leaves at the new rate.
    pub(super) fn change(&mut self, now: Duration, rate: Option<Rate>, limit: u64) -> TimeScale {
        let factor = match (self.rate, rate) {
            (Some(old), Some(new)) => old.bits_per_second() as f64 / new.bits_per_second() as f64,
            (Some(_), None) => 0.0,
            (None, _) => 1.0,
        };
        let scale = TimeScale { since: now, factor };
        (self.rate, self.limit, self.free_at) = (rate, limit, scale.apply(self.free_at));
        scale
    }

    /// The most bytes that have been queued at once.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }
}

impl TimeScale {
    /// The new time of what would have happened at `time`.
    pub(super) fn apply(&self, time: Duration) -> Duration {
        match time.checked_sub(self.since) {
            Some(rest) => self.since + rest.mul_f64(self.factor),
            None => time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    /// 1500 bytes take a millisecond.
    const RATE: Rate = Rate::mbit(12);

    #[test]
    fn packets_leave_one_after_another() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        assert_eq!(bottleneck.admit(5 * MS, 1500), Some(6 * MS));
        assert_eq!(bottleneck.admit(5 * MS, 3000), Some(8 * MS));
        assert_eq!(bottleneck.admit(20 * MS, 1500), Some(21 * MS));
        assert_eq!(bottleneck.peak(), 4500);
    }

    #[test]
    fn the_tail_is_dropped_when_the_queue_is_full() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        let admitted = (0..100).filter(|_| bottleneck.admit(MS, 1500).is_some()).count();
        assert_eq!(admitted, 10);
        assert!(bottleneck.admit(2 * MS, 1501).is_none());
        assert!(bottleneck.admit(2 * MS, 1500).is_some());
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut bottleneck = Bottleneck::new(None, 0);
        assert_eq!(bottleneck.admit(3 * MS, 1_000_000), Some(3 * MS));
    }

    #[test]
    fn at_half_the_rate_what_is_queued_takes_twice_as_long_and_is_as_much() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        let departures: Vec<_> = (0..10).filter_map(|_| bottleneck.admit(Duration::ZERO, 1500)).collect();
        let scale = bottleneck.change(4 * MS, Some(Rate::mbit(6)), 15_000);
        let departures: Vec<_> = departures.into_iter().map(|time| scale.apply(time)).collect();
        assert_eq!(departures[..4], [MS, 2 * MS, 3 * MS, 4 * MS]);
        assert_eq!(departures[4..], [6 * MS, 8 * MS, 10 * MS, 12 * MS, 14 * MS, 16 * MS]);
        // Six packets still wait, so there is room for four.
        assert_eq!((0..10).filter(|_| bottleneck.admit(4 * MS, 1500).is_some()).count(), 4);
    }

    #[test]
    fn without_a_rate_any_more_the_queue_leaves_at_once() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        let departure = bottleneck.admit(Duration::ZERO, 15_000).unwrap();
        let scale = bottleneck.change(4 * MS, None, 15_000);
        assert_eq!(scale.apply(departure), 4 * MS);
    }
}
