//! How late the emulator delivers packets: its own error, by which its results are judged.
//! Must never grow with the number of packets.

use std::time::Duration;

use serde::Serialize;

/// One bucket for each power of two of a microsecond; the last one is over half an hour.
const BUCKETS: usize = 32;

/// A histogram of the delay that each packet had beyond the link's own.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::wan) struct LatenessHistogram {
    /// Bucket 0 counts delays below 1 µs, bucket n those below 2ⁿ µs.
    buckets: [u64; BUCKETS],
    sum: Duration,
    max: Duration,
}

/// The emulator's own error, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LatenessSummary {
    /// The mean.
    pub mean_us: u64,
    /// 99 % of the packets were less late than this.
    pub p99_us: u64,
    /// The maximum.
    pub max_us: u64,
}

impl LatenessHistogram {
    pub(in crate::wan) fn record(&mut self, late: Duration) {
        let bucket = (u128::BITS - late.as_micros().leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.sum += late;
        self.max = self.max.max(late);
    }

    pub(in crate::wan) fn summary(&self) -> LatenessSummary {
        let count: u64 = self.buckets.iter().sum();
        LatenessSummary {
            mean_us: micros(self.sum) / count.max(1),
            p99_us: self.quantile(count - count / 100),
            max_us: micros(self.max),
        }
    }

    /// The upper bound of the bucket that holds the `rank`-th smallest delay.
    fn quantile(&self, rank: u64) -> u64 {
        let mut counted = 0;
        let bucket = self.buckets.iter().position(|count| {
            counted += count;
            counted >= rank
        });
        bucket.filter(|_| rank > 0).map_or(0, |bucket| 1 << bucket)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_mean_percentile_and_maximum() {
        let mut lateness = LatenessHistogram::default();
        assert_eq!(lateness.summary(), LatenessSummary::default());
        for _ in 0..995 {
            lateness.record(Duration::from_micros(20));
        }
        for _ in 0..5 {
            lateness.record(Duration::from_millis(3));
        }
        assert_eq!(lateness.summary(), LatenessSummary { mean_us: 34, p99_us: 32, max_us: 3000 });
    }
}
