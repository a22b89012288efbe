//! How much of large bodies a client asks for ahead: the receiver's side of the flow.
//!
//! Follows what the line carries, so that a small line costs little memory and a fat one is kept
//! full. Never the reason why a line is slow: it allows several times what is under way.

use crate::limits::{BULK_WINDOW_LEAST, BULK_WINDOW_MOST, SEGMENT, SEGMENTS_AHEAD, SEGMENTS_AHEAD_MOST};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bandwidth-delay products that may be asked for ahead. One is on the line; a lost packet holds
/// the reader up for one or two more, during which the line has to have something to carry, and
/// again when the packet that replaces it is lost. Measured at 5 % loss, 4 cost four points; at 10 and
/// 15 %, 6 ran empty now and then.
const WINDOW_BDPS: f64 = 8.0;

/// Samples of which the highest counts: about ten round trips, so that a short lull (an engine
/// that writes to its disk) doesn't shrink the window, and a line that got slower does.
const RATE_SAMPLES_MAX: usize = 10;

/// The shortest time over which a rate is measured: shorter ones show bursts, not the line.
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// A pause in which nobody asked for anything; it says nothing about the line.
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
    /// Takes note that `received` bytes have come over the connection by `now`, all in all, and of
    /// what a round trip takes. To be called while bodies are read, as often as one likes.
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

    /// Segments that may be asked for and not yet read, of all bodies together.
    #[must_use]
    pub fn segments(&self) -> usize {
        let bytes = (self.bdp * WINDOW_BDPS) as u64;
        let segments = bytes.clamp(BULK_WINDOW_LEAST, BULK_WINDOW_MOST).div_ceil(u64::from(SEGMENT));
        usize::try_from(segments).unwrap_or(usize::MAX)
    }

    /// Segments to open together with a request, before it is known whether they are needed: what the
    /// line carries until that is known.
    #[must_use]
    pub fn ahead(&self) -> u32 {
        let segments = (self.bdp / f64::from(SEGMENT)).ceil() as u32;
        segments.clamp(SEGMENTS_AHEAD, SEGMENTS_AHEAD_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Lets a line of this rate run for so many steps of 10 ms.
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
        window.segments() as u64 * u64::from(SEGMENT)
    }

    #[test]
    fn the_window_is_eight_bandwidth_delay_products() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        assert_eq!((bytes(&window), window.ahead()), (BULK_WINDOW_LEAST, SEGMENTS_AHEAD));
        run(&mut window, &mut clock, 37_500_000, 200, 100);
        let bdp = 7_500_000;
        assert!((8 * bdp..8 * bdp + MIB).contains(&bytes(&window)), "{}", bytes(&window));
        let ahead = u64::from(window.ahead()) * u64::from(SEGMENT);
        assert!((bdp..bdp + MIB).contains(&ahead), "{ahead}");
    }

    #[test]
    fn the_window_has_a_minimum_and_a_maximum() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        run(&mut window, &mut clock, 10_000, 300, 100);
        assert_eq!((bytes(&window), window.ahead()), (BULK_WINDOW_LEAST, SEGMENTS_AHEAD));
        run(&mut window, &mut clock, 62_500_000, 300, 100);
        assert!(bytes(&window) > BULK_WINDOW_MOST - 2 * MIB, "{}", bytes(&window));
        run(&mut window, &mut clock, 1 << 33, 300, 100);
        assert_eq!((bytes(&window), window.ahead()), (BULK_WINDOW_MOST, SEGMENTS_AHEAD_MOST));
    }

    #[test]
    fn the_window_shrinks_with_the_rate_but_not_while_idle() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        run(&mut window, &mut clock, 37_500_000, 200, 100);
        let before = bytes(&window);
        clock.0 += Duration::from_secs(60);
        run(&mut window, &mut clock, 37_500_000, 200, 1);
        assert_eq!(bytes(&window), before, "after a minute of silence");
        run(&mut window, &mut clock, 2_500_000, 200, 300);
        assert_eq!(bytes(&window), BULK_WINDOW_LEAST, "ten round trips at a fifteenth of the rate");
    }

    #[test]
    fn a_stopped_clock_or_a_shrinking_byte_count_does_no_harm() {
        let mut window = BulkWindow::default();
        let now = Instant::now();
        for received in [5, 5, 0, u64::MAX] {
            window.observe(now, received, Duration::ZERO);
        }
        window.observe(now + Duration::from_millis(60), 0, Duration::ZERO);
        assert_eq!(bytes(&window), BULK_WINDOW_LEAST);
    }
}
