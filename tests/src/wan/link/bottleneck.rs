//! The slowest hop of a link: a rate, and a drop-tail queue in front of it.
//! Must never hold a packet: its departure time is computed when it arrives.

use std::time::Duration;

use crate::wan::link::rate::Rate;

/// A drop-tail queue that drains at a rate.
#[derive(Clone, Copy, Debug)]
pub(in crate::wan) struct Bottleneck {
    /// `None` passes every packet at once.
    rate: Option<Rate>,
    /// The queue's limit in bytes; the packet that is being sent counts.
    limit: u64,
    /// When all packets admitted so far will have left.
    free_at: Duration,
    peak: u64,
}

/// How a new rate shifts the departure times of queued packets: the time left after `since` is multiplied by
/// `factor`.
#[derive(Clone, Copy, Debug)]
pub(in crate::wan) struct TimeScale {
    since: Duration,
    factor: f64,
}

impl Bottleneck {
    pub(in crate::wan) fn new(rate: Option<Rate>, limit: u64) -> Self {
        Self { rate, limit, free_at: Duration::ZERO, peak: 0 }
    }

    /// When the last bit of a packet that arrives `now` leaves, or `None` if the queue has no room for it.
    pub(in crate::wan) fn admit(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
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

    /// Sets another rate and limit from `now` on. Queued packets stay and leave at the new rate.
    pub(in crate::wan) fn change(&mut self, now: Duration, rate: Option<Rate>, limit: u64) -> TimeScale {
        let factor = match (self.rate, rate) {
            (Some(old), Some(new)) => old.bits_per_second() as f64 / new.bits_per_second() as f64,
            (Some(_), None) => 0.0,
            (None, _) => 1.0,
        };
        let scale = TimeScale { since: now, factor };
        (self.rate, self.limit, self.free_at) = (rate, limit, scale.apply(self.free_at));
        scale
    }

    /// The most bytes that were queued at once.
    pub(in crate::wan) fn peak(&self) -> u64 {
        self.peak
    }
}

impl TimeScale {
    /// The new time of an event that was due at `time`.
    pub(in crate::wan) fn apply(&self, time: Duration) -> Duration {
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
    /// A packet of 1500 bytes takes a millisecond.
    const RATE: Rate = Rate::mbit(12);

    #[test]
    fn packets_leave_in_order_at_the_rate() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        assert_eq!(bottleneck.admit(5 * MS, 1500), Some(6 * MS));
        assert_eq!(bottleneck.admit(5 * MS, 3000), Some(8 * MS));
        assert_eq!(bottleneck.admit(20 * MS, 1500), Some(21 * MS));
        assert_eq!(bottleneck.peak(), 4500);
    }

    #[test]
    fn a_full_queue_drops_new_packets() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        let admitted = (0..100).filter(|_| bottleneck.admit(MS, 1500).is_some()).count();
        assert_eq!(admitted, 10);
        assert!(bottleneck.admit(2 * MS, 1501).is_none());
        assert!(bottleneck.admit(2 * MS, 1500).is_some());
    }

    #[test]
    fn without_a_rate_no_packet_waits() {
        let mut bottleneck = Bottleneck::new(None, 0);
        assert_eq!(bottleneck.admit(3 * MS, 1_000_000), Some(3 * MS));
    }

    #[test]
    fn at_half_the_rate_queued_packets_take_twice_as_long() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        let departures: Vec<_> = (0..10).filter_map(|_| bottleneck.admit(Duration::ZERO, 1500)).collect();
        let scale = bottleneck.change(4 * MS, Some(Rate::mbit(6)), 15_000);
        let departures: Vec<_> = departures.into_iter().map(|time| scale.apply(time)).collect();
        assert_eq!(departures[..4], [MS, 2 * MS, 3 * MS, 4 * MS]);
        assert_eq!(departures[4..], [6 * MS, 8 * MS, 10 * MS, 12 * MS, 14 * MS, 16 * MS]);
        // Six packets are still queued, so there is room for four.
        assert_eq!((0..10).filter(|_| bottleneck.admit(4 * MS, 1500).is_some()).count(), 4);
    }

    #[test]
    fn removing_the_rate_empties_the_queue_at_once() {
        let mut bottleneck = Bottleneck::new(Some(RATE), 15_000);
        let departure = bottleneck.admit(Duration::ZERO, 15_000).unwrap();
        let scale = bottleneck.change(4 * MS, None, 15_000);
        assert_eq!(scale.apply(departure), 4 * MS);
    }
}
