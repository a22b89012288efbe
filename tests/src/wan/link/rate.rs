//! A bit rate, with conversions between bytes and time.
//! Must never be zero: a link that passes nothing has an outage, not a rate.

use std::{num::NonZeroU64, time::Duration};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Bits per second of IP packets, headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// `megabits` × 10⁶ bits per second. Panics on zero, at compile time in a constant.
    pub const fn mbit(megabits: u64) -> Self {
        match Self::new(megabits * 1_000_000) {
            Some(rate) => rate,
            None => panic!("a rate must not be zero"),
        }
    }

    /// `None` if zero.
    pub const fn new(bits_per_second: u64) -> Option<Self> {
        match NonZeroU64::new(bits_per_second) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0.get()
    }

    /// The time to send `bytes`.
    pub fn time_for(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8 * NANOS_PER_SECOND / u128::from(self.0.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The bytes that are sent in `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = time.as_nanos().saturating_mul(self.0.get().into()) / (8 * NANOS_PER_SECOND);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_time_convert_both_ways() {
        let rate = Rate::mbit(100);
        assert_eq!(rate.time_for(1500), Duration::from_micros(120));
        assert_eq!(rate.bytes_in(Duration::from_millis(200)), 2_500_000);
    }

    #[test]
    fn nothing_overflows() {
        let slow = Rate::new(1).unwrap();
        assert_eq!(slow.time_for(u64::MAX), Duration::from_nanos(u64::MAX));
        let fast = Rate::new(u64::MAX).unwrap();
        assert_eq!(fast.bytes_in(Duration::from_secs(1 << 40)), u64::MAX);
    }
}
