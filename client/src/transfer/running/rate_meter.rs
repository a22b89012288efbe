//! The current rate of a transfer.
//!
//! Pure: takes the time as an argument. Must never lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time over which a rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Measures a rate in windows. One task writes, and any may read.
#[derive(Debug, Default)]
pub(super) struct RateMeter {
    /// When the window began, in milliseconds since the start of the transfer, and the bytes until then.
    began: AtomicU64,
    before: AtomicU64,
    /// The rate of the window before, in bytes per second.
    last: AtomicU64,
}

impl RateMeter {
    /// So many bytes were received by `now`.
    pub(super) fn observe(&self, now: Duration, received: u64) {
        let now = milliseconds(now);
        let window = now.saturating_sub(self.began.load(Ordering::Relaxed));
        if window >= milliseconds(RATE_WINDOW) {
            let bytes = received.saturating_sub(self.before.swap(received, Ordering::Relaxed));
            self.last.store(per_second(bytes, window), Ordering::Relaxed);
            self.began.store(now, Ordering::Relaxed);
        }
    }

    /// The rate at `now`: 0 if no byte has ended the window in its double time.
    pub(super) fn current(&self, now: Duration, received: u64) -> u64 {
        let began = self.began.load(Ordering::Relaxed);
        let window = milliseconds(now).saturating_sub(began);
        if window > 2 * milliseconds(RATE_WINDOW) {
            return 0;
        }
        if began > 0 && window < milliseconds(RATE_WINDOW) {
            return self.last.load(Ordering::Relaxed);
        }
        per_second(received.saturating_sub(self.before.load(Ordering::Relaxed)), window)
    }
}

fn per_second(bytes: u64, milliseconds: u64) -> u64 {
    bytes.saturating_mul(1000) / milliseconds.max(1)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let rate = RateMeter::default();
        let at = Duration::from_millis;
        assert_eq!(rate.current(at(0), 0), 0);
        assert_eq!(rate.current(at(500), 100), 200, "there is no window yet");
        rate.observe(at(1000), 1000);
        assert_eq!(rate.current(at(1500), 1000), 1000);
        rate.observe(at(3000), 5000);
        assert_eq!(rate.current(at(3900), 6000), 2000);
        assert_eq!(rate.current(at(13_000), 6000), 0, "no byte for ten seconds");
    }
}
