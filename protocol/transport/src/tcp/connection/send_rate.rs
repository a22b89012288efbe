//! The rate at which the kernel takes what a connection sends, and how much may wait because of it.
//!
//! What the kernel and h2 have has lost its order and cannot be withdrawn, so on a slow line it is little. A pure
//! function of counters and time. Must never read a clock.

use super::super::settings::BATCH_BYTES;
use super::super::socket::UNSENT_BYTES_MAX;
use std::time::{Duration, Instant};

/// A batch is sent in this time, and what the kernel has not sent yet, too: longer than a busy machine needs to pass on
/// more. (Measured at 5 Mbit/s and 200 ms: a cancel frees the line 0.10 s after a round trip, and 0.31 s with the limits
/// of a fast line.)
const WAIT: Duration = Duration::from_millis(40);

/// A batch, and what the kernel has not sent yet, is as much as this at least: one frame.
const BYTES_MIN: usize = 16 * 1024;

/// A rate is measured over this time, at least.
const SAMPLE_TIME_MIN: Duration = Duration::from_millis(250);

/// Measures one connection.
#[derive(Debug, Default)]
pub(super) struct SendRate {
    /// When the current sample began, and the bytes that the kernel had taken before.
    sample: Option<(Instant, u64)>,
    /// In bytes per second.
    rate: Option<f64>,
}

impl SendRate {
    /// The kernel takes no more for now; it has taken this much.
    pub(super) fn blocked(&mut self, now: Instant, sent: u64) {
        let (start, before) = *self.sample.get_or_insert((now, sent));
        let elapsed = now.saturating_duration_since(start);
        if elapsed >= SAMPLE_TIME_MIN {
            self.rate = Some((sent - before) as f64 / elapsed.as_secs_f64());
            self.sample = Some((now, sent));
        }
    }

    /// Nothing waits: the line may be faster than what was measured.
    pub(super) const fn idle(&mut self) {
        (self.sample, self.rate) = (None, None);
    }

    /// Bytes of a batch.
    pub(super) fn batch(&self) -> usize {
        self.bytes(BATCH_BYTES)
    }

    /// Bytes that the kernel may take and not send yet.
    pub(super) fn unsent(&self) -> u32 {
        self.bytes(UNSENT_BYTES_MAX as usize) as u32
    }

    fn bytes(&self, most: usize) -> usize {
        self.rate.map_or(most, |rate| ((rate * WAIT.as_secs_f64()) as usize).clamp(BYTES_MIN, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits of a connection whose kernel has taken bytes at this rate for a second.
    fn limits(rate: u64) -> (usize, u32) {
        let (mut measured, now) = (SendRate::default(), Instant::now());
        for ms in (0..=1000).step_by(10) {
            measured.blocked(now + Duration::from_millis(ms), rate * ms / 1000);
        }
        (measured.batch(), measured.unsent())
    }

    #[test]
    fn little_waits_on_a_slow_line_and_as_much_as_ever_on_a_fast_one() {
        assert_eq!(limits(60_000), (BYTES_MIN, BYTES_MIN as u32));
        assert_eq!(limits(625_000), (25_000, 25_000));
        assert_eq!(limits(12_500_000), (BATCH_BYTES, UNSENT_BYTES_MAX));
    }

    #[test]
    fn a_line_of_which_nothing_is_known_counts_as_fast() {
        let (mut measured, now) = (SendRate::default(), Instant::now());
        measured.blocked(now, 0);
        assert_eq!((measured.batch(), measured.unsent()), (BATCH_BYTES, UNSENT_BYTES_MAX));
        measured.blocked(now + SAMPLE_TIME_MIN, 100_000);
        assert!(measured.batch() < BATCH_BYTES);
        measured.idle();
        assert_eq!((measured.batch(), measured.unsent()), (BATCH_BYTES, UNSENT_BYTES_MAX));
        // The time without anything to send does not count.
        measured.blocked(now + Duration::from_secs(9), 100_000);
        measured.blocked(now + Duration::from_secs(10), 13_000_000);
        assert_eq!(measured.batch(), BATCH_BYTES);
    }
}
