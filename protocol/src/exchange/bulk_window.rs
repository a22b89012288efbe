//! How many segments of large bodies a client requests in advance: the receiver's flow control.
//!
//! Follows the rate of the connection, so that a slow one needs little memory and a fast one stays full.
//! Must never be the reason for a low rate: the window is several BDPs.

use crate::limits::{
    BULK_WINDOW_INITIAL, BULK_WINDOW_MAX, BULK_WINDOW_MIN, INITIAL_SEGMENTS_MAX, SEGMENT_BYTES,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Size of the window in bandwidth-delay products. One is in flight. A lost packet blocks the reader for
/// one or two more round trips, for which the connection needs more to send, and for as many again if the
/// retransmission is lost, too. (Measured: 4 BDPs cost four percentage points of the rate at 5 % loss.)
const WINDOW_BDPS: f64 = 6.0;

/// The same while the rate still grows. What a path carries becomes known two round trips after it was sent; in
/// that time the rate of a new connection grows fivefold, and lost packets block the reader.
const GROWING_WINDOW_BDPS: f64 = 16.0;

/// The window in time, at least: on a short path, an engine that pauses briefly must not empty the line.
const WINDOW_TIME: Duration = Duration::from_secs(1);

/// The window in time, at most. On a fast and short path a second would only be memory, which an engine that stops
/// reading fills.
const WINDOW_TIME_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;

/// A rate sample that is higher by this factor than all before shows that the rate still grows.
const GROWTH_MIN: f64 = 1.25;

/// Samples in a row without growth after which the rate is known.
const FLAT_SAMPLES: u32 = 3;

/// Rate samples of which the highest counts. They cover about ten round trips, so that a short pause (an
/// engine that writes to its disk) does not shrink the window, and a lower rate does.
const RATE_SAMPLES_MAX: usize = 10;

/// Minimum time over which a rate is measured: a shorter sample shows bursts, not the rate of the
/// connection.
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Bytes of a sample, at least: less is not a body, but pings and small responses beside one that waits for its
/// registry. That says nothing about the rate either.
const SAMPLE_BYTES_MIN: u64 = 4 * 1024;

/// Minimum time without calls that counts as idle; an idle period says nothing about the rate.
const IDLE_GAP_MIN: Duration = Duration::from_secs(1);

/// The window of one connection, shared by all bodies on it.
#[derive(Debug, Default)]
pub struct BulkWindow {
    sample_start: Option<(Instant, u64)>,
    last_observed: Option<Instant>,
    /// In bytes per second.
    rate_samples: VecDeque<f64>,
    rtt: Duration,
    /// Samples since the rate last grew. The rate is known from [`FLAT_SAMPLES`] on.
    flat_samples: u32,
}

impl BulkWindow {
    /// The window of a connection whose predecessor had this rate in bytes per second, if that is known.
    #[must_use]
    pub fn with_rate(rate: Option<f64>) -> Self {
        let flat_samples = if rate.is_some() { FLAT_SAMPLES } else { 0 };
        Self { rate_samples: rate.into_iter().collect(), flat_samples, ..Self::default() }
    }

    /// Records that the connection has received `received` bytes in total by `now`, and its current RTT.
    /// Call it while bodies are read, as often as you like.
    pub fn observe(&mut self, now: Instant, received: u64, rtt: Duration) {
        self.rtt = rtt;
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
        let bytes = received.saturating_sub(before);
        if bytes < SAMPLE_BYTES_MIN {
            return;
        }
        let sample = bytes as f64 / elapsed.as_secs_f64();
        let grows = sample > self.highest() * GROWTH_MIN;
        self.flat_samples = if grows { 0 } else { self.flat_samples.saturating_add(1) };
        if self.rate_samples.len() == RATE_SAMPLES_MAX {
            self.rate_samples.pop_front();
        }
        self.rate_samples.push_back(sample);
    }

    /// The rate of the connection in bytes per second. `None` while it still grows.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.flat_samples >= FLAT_SAMPLES).then(|| self.highest())
    }

    /// Segments of all bodies together that may be requested and not yet read.
    #[must_use]
    pub fn segments(&self) -> usize {
        let bytes = match self.rate() {
            Some(rate) => {
                let time = (rate * WINDOW_TIME.as_secs_f64()).min(WINDOW_TIME_BYTES_MAX);
                time.max(self.bdp() * WINDOW_BDPS)
            }
            None => (self.bdp() * GROWING_WINDOW_BDPS).max(BULK_WINDOW_INITIAL as f64),
        };
        let segments =
            (bytes as u64).clamp(BULK_WINDOW_MIN, BULK_WINDOW_MAX).div_ceil(u64::from(SEGMENT_BYTES));
        usize::try_from(segments).unwrap_or(usize::MAX)
    }

    /// Segments to open together with a request, if the window has room for them. Whether they are needed becomes
    /// known one round trip later, so this is one BDP.
    #[must_use]
    pub fn initial_segments(&self) -> u32 {
        let least = if self.rate().is_some() { BULK_WINDOW_MIN } else { BULK_WINDOW_INITIAL };
        let segments = (self.bdp().max(least as f64) / f64::from(SEGMENT_BYTES)).ceil() as u32;
        segments.min(INITIAL_SEGMENTS_MAX)
    }

    /// Segments that arrive in one round trip; none while the rate is not known, or if that is less than half of one.
    #[must_use]
    pub fn round_trip_segments(&self) -> u32 {
        let segments = self.rate().map_or(0.0, |_| self.bdp() / f64::from(SEGMENT_BYTES));
        if segments < 0.5 { 0 } else { (segments.ceil() as u32).min(INITIAL_SEGMENTS_MAX) }
    }

    fn highest(&self) -> f64 {
        self.rate_samples.iter().copied().fold(0.0, f64::max)
    }

    fn bdp(&self) -> f64 {
        self.highest() * self.rtt.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = SEGMENT_BYTES as u64;

    /// A connection in time.
    struct Simulation {
        window: BulkWindow,
        now: Instant,
        received: u64,
    }

    impl Simulation {
        fn new(rate: Option<f64>) -> Self {
            Self { window: BulkWindow::with_rate(rate), now: Instant::now(), received: 0 }
        }

        /// Runs for this long at this rate.
        fn run(&mut self, mbit: u64, rtt_ms: u64, ms: u64) {
            for _ in 0..ms / 10 {
                self.now += Duration::from_millis(10);
                self.received += mbit * 1_000_000 / 8 / 100;
                self.window.observe(self.now, self.received, Duration::from_millis(rtt_ms));
            }
        }

        fn bytes(&self) -> u64 {
            self.window.segments() as u64 * SEGMENT
        }

        fn initial_bytes(&self) -> u64 {
            u64::from(self.window.initial_segments()) * SEGMENT
        }
    }

    /// Whether it is this number of bytes, in whole segments.
    fn assert_rounded(bytes: u64, expected: u64) {
        assert!((expected..expected + SEGMENT).contains(&bytes), "{bytes} in place of {expected}");
    }

    #[test]
    fn the_window_is_six_bandwidth_delay_products_or_a_second() {
        for (mbit, rtt_ms, expected) in [
            (300, 200, 45_000_000),
            (100, 200, 15_000_000),
            (20, 200, 3_000_000),
            (100, 20, 12_500_000),
            (2000, 1, 16 * 1024 * 1024),
            (5, 200, BULK_WINDOW_MIN),
        ] {
            let mut connection = Simulation::new(None);
            connection.run(mbit, rtt_ms, 10 * rtt_ms.max(50));
            assert_rounded(connection.bytes(), expected);
            assert_rounded(connection.initial_bytes(), (mbit * rtt_ms * 125).max(BULK_WINDOW_MIN));
        }
    }

    #[test]
    fn the_window_starts_small_and_grows_faster_than_the_rate() {
        let mut connection = Simulation::new(None);
        assert_eq!(
            (connection.bytes(), connection.initial_bytes()),
            (BULK_WINDOW_INITIAL, BULK_WINDOW_INITIAL)
        );
        for mbit in [20, 40, 80, 160, 320] {
            connection.run(mbit, 200, 210);
            assert_eq!(connection.window.rate(), None, "{mbit} Mbit/s, and it grows");
            // What the next two round trips can carry, while the reader waits for a lost packet.
            assert!(connection.bytes() >= (mbit * 25_000 * 9).min(BULK_WINDOW_MAX), "{}", connection.bytes());
        }
        connection.run(320, 200, 1000);
        assert_rounded(connection.bytes(), 48_000_000);
    }

    #[test]
    fn a_round_trip_carries_no_segment_of_an_unknown_or_slow_line() {
        for (mbit, rtt_ms, expected) in
            [(100, 200, 5), (100, 50, 2), (15, 200, 1), (8, 200, 0), (10_000, 300, 40)]
        {
            let mut connection = Simulation::new(None);
            assert_eq!(connection.window.round_trip_segments(), 0, "unknown");
            connection.run(mbit, rtt_ms, 10 * rtt_ms.max(50));
            assert_eq!(connection.window.round_trip_segments(), expected, "{mbit} Mbit/s, {rtt_ms} ms");
        }
    }

    #[test]
    fn the_next_connection_starts_with_the_rate() {
        let connection = Simulation::new(Some(37_500_000.0));
        assert_eq!(connection.window.rate(), Some(37_500_000.0));
        assert_rounded(connection.bytes(), 16 * 1024 * 1024);
        let mut same = Simulation::new(Some(37_500_000.0));
        same.run(300, 200, 10);
        assert_rounded(same.bytes(), 45_000_000);
        let mut slower = connection;
        slower.run(20, 200, 3000);
        assert_rounded(slower.bytes(), 3_000_000);
    }

    #[test]
    fn a_rate_that_grows_again_widens_the_window() {
        let mut connection = Simulation::new(Some(1_250_000.0));
        connection.run(10, 200, 3000);
        let before = connection.bytes();
        connection.run(20, 200, 420);
        assert!(connection.bytes() > 4 * before, "{} after {before}", connection.bytes());
    }

    #[test]
    fn the_window_has_a_minimum_and_a_maximum() {
        let mut connection = Simulation::new(None);
        connection.run(1, 300, 3000);
        assert_eq!((connection.bytes(), connection.initial_bytes()), (BULK_WINDOW_MIN, BULK_WINDOW_MIN));
        connection.run(100_000, 300, 3000);
        assert_eq!(connection.bytes(), BULK_WINDOW_MAX);
        assert_eq!(connection.window.initial_segments(), INITIAL_SEGMENTS_MAX);
    }

    #[test]
    fn the_window_shrinks_with_the_rate_but_not_while_idle() {
        let mut connection = Simulation::new(None);
        connection.run(300, 200, 3000);
        let before = connection.bytes();
        connection.now += Duration::from_secs(60);
        connection.run(300, 200, 10);
        connection.run(0, 200, 5000);
        assert_eq!(connection.bytes(), before, "after an idle minute, and seconds without data");
        connection.run(20, 200, 3000);
        assert_rounded(connection.bytes(), 3_000_000);
    }

    #[test]
    fn a_stopped_clock_or_a_shrinking_byte_count_does_no_harm() {
        let mut window = BulkWindow::default();
        let now = Instant::now();
        for received in [5, 5, 0, u64::MAX] {
            window.observe(now, received, Duration::ZERO);
        }
        window.observe(now + Duration::from_millis(60), 0, Duration::ZERO);
        assert_eq!(window.segments() as u64 * SEGMENT, BULK_WINDOW_INITIAL);
    }
}
