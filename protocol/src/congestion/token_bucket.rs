//! A token bucket: keeps what is sent at a rate, whatever the congestion control would allow.
//!
//! Must never hold a byte back when nothing was sent for a while.

use super::Rate;
use std::time::{Duration, Instant};

/// How long a sender that was idle may send without waiting. Timers are not more exact than that.
const BURST: Duration = Duration::from_millis(10);

/// Bytes that may be sent, at a rate. They are taken first, and sent when they are due.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: Rate,
    /// When all bytes that were taken are sent.
    empty_until: Instant,
}

impl TokenBucket {
    /// A bucket that fills at `rate`.
    #[must_use]
    pub const fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, empty_until: now }
    }

    /// Takes bytes. Returns when they are due, which may have passed. Who does not wait delays those who do.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Instant {
        let due = self.empty_until.max(now.checked_sub(BURST).unwrap_or(now));
        self.empty_until = due + Duration::from_secs_f64(bytes as f64 / self.rate.bytes_per_second());
        due
    }

    /// Goes on at another rate.
    pub const fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: usize = 16 * 1024;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn an_idle_sender_does_not_wait_and_saves_no_more_than_a_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(rate("8 Mbit/s"), start);
        let later = start + Duration::from_secs(60);
        assert!(bucket.take(10_000, later) <= later);
        assert_eq!(bucket.take(1, later), later);
        assert!(bucket.take(1, later) > later);
    }

    proptest! {
        /// Senders that wait get the rate: never more than it and one burst and one chunk, and not less while they ask.
        #[test]
        fn waiting_senders_get_the_rate(kbit in 24_u64..1_000_000, chunks in 20_usize..200) {
            let rate = Rate::from_bits_per_second(kbit * 1000).unwrap();
            let start = Instant::now();
            let mut bucket = TokenBucket::new(rate, start);
            let mut now = start;
            for sent in 0..chunks {
                now = bucket.take(CHUNK, now).max(now);
                let sent = (sent * CHUNK) as f64;
                let allowed = rate.bytes_per_second() * (now - start + BURST).as_secs_f64();
                prop_assert!(sent <= allowed + 1.0, "{sent} of {allowed}");
                prop_assert!(sent + CHUNK as f64 >= allowed - rate.bytes_per_second() * BURST.as_secs_f64() - 1.0);
            }
        }
    }
}
