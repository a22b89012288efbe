//! How many segments of large bodies a client requests in advance: the receiver's flow control.
//!
//! Follows the rate of the connection, so that a slow one needs little memory and a fast one stays full.
//! Must never be the reason for a low rate: the window is several BDPs.

use crate::limits::{
    BULK_WINDOW_MAX, BULK_WINDOW_MIN, INITIAL_SEGMENTS_MAX, INITIAL_SEGMENTS_MIN, SEGMENT_BYTES,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Size of the window in bandwidth-delay products. One is in flight. A lost packet blocks the reader for
/// one or two more round trips, for which the connection needs more to send, and for as many again if the
/// retransmission is lost, too. Measured: 4 BDPs cost four percentage points of the rate at 5 % loss; 6
/// BDPs were sometimes used up at 10 and 15 % loss.
const WINDOW_BDPS: f64 = 8.0;

/// Rate samples of which the highest counts. They cover about ten round trips, so that a short pause (an
/// engine that writes to its disk) does not shrink the window, and a lower rate does.
const RATE_SAMPLES_MAX: usize = 10;

/// Minimum time over which a rate is measured: a shorter sample shows bursts, not the rate of the
/// connection.
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Minimum time without calls that counts as idle; an idle period says nothing about the rate.
const IDLE_GAP_MIN: Duration = Duration::from_secs(1);

/// The window of one connection, shared by all bodies on it.
#[derive(Debug, Default)]
pub struct BulkWindow {
    sample_start: Option<(Instant, u64)>,
    last_observed: Option<Instant>,
    rate_samples: VecDeque<f64>,
    bdp: f64,
}

impl BulkWindow {
    /// Records that the connection has received `received` bytes in total by `now`, and its current RTT.
    /// Call it while bodies are read, as often as you like.
    pub fn observe(&mut self, now: Instant, received: u64, rtt: Duration) {
        let idle = self
            .last_observed
            .is_none_or(|last| now.saturating_duration_since(last) > IDLE_GAP_MIN.max(rtt * 2));
        self.last_observed = Some(now);
        let Some((start, before)) = self.sample_start.filter(|_| !idle) else {
            self.sample_start = Some((now, received));
            return;
        };
        let elapsed = now.saturating_duration_since(start);
        if elapsed < rtt.max(SAMPLE_INTERVAL_MIN) {
            return;
        }
        self.sample_start = Some((now, received));
        if self.rate_samples.len() == RATE_SAMPLES_MAX {
            self.rate_samples.pop_front();
        }
        self.rate_samples.push_back(received.saturating_sub(before) as f64 / elapsed.as_secs_f64());
        let highest = self.rate_samples.iter().copied().fold(0.0, f64::max);
        self.bdp = highest * rtt.as_secs_f64();
    }

    /// Segments of all bodies together that may be requested and not yet read.
    #[must_use]
    pub fn segments(&self) -> usize {
        let bytes = (self.bdp * WINDOW_BDPS) as u64;
        let segments = bytes.clamp(BULK_WINDOW_MIN, BULK_WINDOW_MAX).div_ceil(u64::from(SEGMENT_BYTES));
        usize::try_from(segments).unwrap_or(usize::MAX)
    }

    /// Segments to open together with a request. Whether they are needed becomes known one round trip
    /// later, so this is one BDP.
    #[must_use]
    pub fn initial_segments(&self) -> u32 {
        let segments = (self.bdp / f64::from(SEGMENT_BYTES)).ceil() as u32;
        segments.clamp(INITIAL_SEGMENTS_MIN, INITIAL_SEGMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Simulates `steps` intervals of 10 ms at this rate.
    fn run(
        window: &mut BulkWindow,
        clock: &mut (Instant, u64),
        bytes_per_second: u64,
        rtt_ms: u64,
        steps: u32,
    ) {
        for _ in 0..steps {
            clock.0 += Duration::from_millis(10);
            clock.1 += bytes_per_second / 100;
            window.observe(clock.0, clock.1, Duration::from_millis(rtt_ms));
        }
    }

    fn bytes(window: &BulkWindow) -> u64 {
        window.segments() as u64 * u64::from(SEGMENT_BYTES)
    }

    #[test]
    fn the_window_is_eight_bandwidth_delay_products() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        assert_eq!((bytes(&window), window.initial_segments()), (BULK_WINDOW_MIN, INITIAL_SEGMENTS_MIN));
        run(&mut window, &mut clock, 37_500_000, 200, 100);
        let bdp = 7_500_000;
        assert!((8 * bdp..8 * bdp + MIB).contains(&bytes(&window)), "{}", bytes(&window));
        let initial = u64::from(window.initial_segments()) * u64::from(SEGMENT_BYTES);
        assert!((bdp..bdp + MIB).contains(&initial), "{initial}");
    }

    #[test]
    fn the_window_has_a_minimum_and_a_maximum() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        run(&mut window, &mut clock, 10_000, 300, 100);
        assert_eq!((bytes(&window), window.initial_segments()), (BULK_WINDOW_MIN, INITIAL_SEGMENTS_MIN));
        run(&mut window, &mut clock, 62_500_000, 300, 100);
        assert!(bytes(&window) > BULK_WINDOW_MAX - 2 * MIB, "{}", bytes(&window));
        run(&mut window, &mut clock, 1 << 33, 300, 100);
        assert_eq!((bytes(&window), window.initial_segments()), (BULK_WINDOW_MAX, INITIAL_SEGMENTS_MAX));
    }

    #[test]
    fn the_window_shrinks_with_the_rate_but_not_while_idle() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        run(&mut window, &mut clock, 37_500_000, 200, 100);
        let before = bytes(&window);
        clock.0 += Duration::from_secs(60);
        run(&mut window, &mut clock, 37_500_000, 200, 1);
        assert_eq!(bytes(&window), before, "after an idle minute");
        run(&mut window, &mut clock, 2_500_000, 200, 300);
        assert_eq!(bytes(&window), BULK_WINDOW_MIN, "ten round trips at a fifteenth of the rate");
    }

    #[test]
    fn a_stopped_clock_or_a_shrinking_byte_count_does_no_harm() {
        let mut window = BulkWindow::default();
        let now = Instant::now();
        for received in [5, 5, 0, u64::MAX] {
            window.observe(now, received, Duration::ZERO);
        }
        window.observe(now + Duration::from_millis(60), 0, Duration::ZERO);
        assert_eq!(bytes(&window), BULK_WINDOW_MIN);
    }
}
