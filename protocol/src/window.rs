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
const PRODUCTS: f64 = 8.0;

/// Samples of which the highest counts: about ten round trips, so that a short lull (an engine
/// that writes to its disk) doesn't shrink the window, and a line that got slower does.
const SAMPLES: usize = 10;

/// The shortest time over which a rate is measured: shorter ones show bursts, not the line.
const SHORTEST: Duration = Duration::from_millis(50);

/// A pause in which nobody asked for anything; it says nothing about the line.
const LULL: Duration = Duration::from_secs(1);

/// The window of one connection, shared by all bodies on it.
#[derive(Debug, Default)]
pub struct BulkWindow {
    since: Option<(Instant, u64)>,
    last: Option<Instant>,
    rates: VecDeque<f64>,
    product: f64,
}

impl BulkWindow {
    /// Takes note that `received` bytes have come over the connection by `now`, all in all, and of
    /// what a round trip takes. To be called while bodies are read, as often as one likes.
    pub fn observe(&mut self, now: Instant, received: u64, round_trip: Duration) {
        let lull =
            self.last.is_none_or(|last| now.saturating_duration_since(last) > LULL.max(round_trip * 2));
        self.last = Some(now);
        let Some((since, before)) = self.since.filter(|_| !lull) else {
            self.since = Some((now, received));
            return;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < round_trip.max(SHORTEST) {
            return;
        }
        self.since = Some((now, received));
        if self.rates.len() == SAMPLES {
            self.rates.pop_front();
        }
        self.rates.push_back(received.saturating_sub(before) as f64 / elapsed.as_secs_f64());
        let highest = self.rates.iter().copied().fold(0.0, f64::max);
        self.product = highest * round_trip.as_secs_f64();
    }

    /// Segments that may be asked for and not yet read, of all bodies together.
    #[must_use]
    pub fn segments(&self) -> usize {
        let bytes = (self.product * PRODUCTS) as u64;
        let segments = bytes.clamp(BULK_WINDOW_LEAST, BULK_WINDOW_MOST).div_ceil(u64::from(SEGMENT));
        usize::try_from(segments).unwrap_or(usize::MAX)
    }

    /// Segments to open together with a request, before it is known whether they are needed: what the
    /// line carries until that is known.
    #[must_use]
    pub fn ahead(&self) -> u32 {
        let product = (self.product / f64::from(SEGMENT)).ceil() as u32;
        product.clamp(SEGMENTS_AHEAD, SEGMENTS_AHEAD_MOST)
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
    fn the_window_follows_eight_bandwidth_delay_products() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        assert_eq!((bytes(&window), window.ahead()), (BULK_WINDOW_LEAST, SEGMENTS_AHEAD));
        run(&mut window, &mut clock, 37_500_000, 200, 100);
        let product = 7_500_000;
        assert!((8 * product..8 * product + MIB).contains(&bytes(&window)), "{}", bytes(&window));
        let ahead = u64::from(window.ahead()) * u64::from(SEGMENT);
        assert!((product..product + MIB).contains(&ahead), "{ahead}");
    }

    #[test]
    fn it_has_a_floor_and_a_ceiling() {
        let (mut window, mut clock) = (BulkWindow::default(), (Instant::now(), 0));
        run(&mut window, &mut clock, 10_000, 300, 100);
        assert_eq!((bytes(&window), window.ahead()), (BULK_WINDOW_LEAST, SEGMENTS_AHEAD));
        run(&mut window, &mut clock, 62_500_000, 300, 100);
        assert!(bytes(&window) > BULK_WINDOW_MOST - 2 * MIB, "{}", bytes(&window));
        run(&mut window, &mut clock, 1 << 33, 300, 100);
        assert_eq!((bytes(&window), window.ahead()), (BULK_WINDOW_MOST, SEGMENTS_AHEAD_MOST));
    }

    #[test]
    fn a_line_that_got_slower_shrinks_it_and_a_pause_does_not() {
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
    fn a_clock_that_stands_still_or_bytes_that_shrink_do_no_harm() {
        let mut window = BulkWindow::default();
        let now = Instant::now();
        for received in [5, 5, 0, u64::MAX] {
            window.observe(now, received, Duration::ZERO);
        }
        window.observe(now + Duration::from_millis(60), 0, Duration::ZERO);
        assert_eq!(bytes(&window), BULK_WINDOW_LEAST);
    }
}
