//! A reader's report on a transfer: how many bytes had arrived in order at each time.
//! Must never hold anything that only the sender knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// How often a reader records the number of bytes.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// A reader's report on one transfer. The clock starts with the request for the bulk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReaderReport {
    /// Bytes so far, at the end of each [`SAMPLE_INTERVAL`].
    pub(crate) series: Vec<u64>,
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// Duration in seconds.
    pub(crate) seconds: f64,
    /// The duration of each small request during the transfer, in seconds.
    pub(crate) small: Vec<f64>,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
    /// Processor time and memory of the reader.
    pub(crate) usage: Usage,
}

impl ReaderReport {
    /// Bits per second between two times in seconds.
    pub(crate) fn goodput(&self, from: f64, to: f64) -> f64 {
        (self.bytes_at(to) - self.bytes_at(from)) * 8.0 / (to - from)
    }

    /// Seconds until the first byte, to a tenth; `None` if none arrived.
    pub(crate) fn first_byte(&self) -> Option<f64> {
        let samples = self.series.iter().position(|bytes| *bytes > 0)?;
        Some((samples + 1) as f64 * SAMPLE_INTERVAL.as_secs_f64())
    }

    /// Bits per second over the full duration.
    pub(crate) fn overall(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds
    }

    /// The one-second window between `from` and `to` with the lowest goodput: its start, and its bits per second.
    pub(crate) fn worst_second(&self, from: f64, to: f64) -> Option<(f64, f64)> {
        let seconds = seconds_between(from, to).map(|start| (start, self.goodput(start, start + 1.0)));
        seconds.reduce(|worst, second| if second.1 < worst.1 { second } else { worst })
    }

    /// Seconds from `event` until a one-second window reaches `target` bits per second; `None` if none does before
    /// `end`. Windows before the worst one do not count, as they hold data that was in flight.
    pub(crate) fn recovery(&self, event: f64, end: f64, target: f64) -> Option<f64> {
        let (worst, lowest) = self.worst_second(event, end)?;
        if lowest >= target {
            return Some(0.0);
        }
        let mut seconds = seconds_between(worst, end);
        seconds.find(|start| self.goodput(*start, start + 1.0) >= target).map(|start| start - event)
    }

    /// Bytes that had arrived at this time, interpolated between the samples.
    fn bytes_at(&self, second: f64) -> f64 {
        let tick = (second / SAMPLE_INTERVAL.as_secs_f64()).max(0.0);
        let at = |index: usize| match index {
            0 => 0.0,
            _ => self.series.get(index - 1).copied().unwrap_or(self.bytes) as f64,
        };
        let (before, after) = (at(tick as usize), at(tick as usize + 1));
        before + (after - before) * tick.fract()
    }
}

/// The starts of all one-second windows, one per sample.
fn seconds_between(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let tick = SAMPLE_INTERVAL.as_secs_f64();
    let count = ((to - 1.0 - from) / tick).max(0.0) as u32;
    (0..=count).map(move |number| from + f64::from(number) * tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 bytes per sample, but none in the samples from 10 to 20.
    fn with_a_gap() -> ReaderReport {
        let series: Vec<u64> = (1..=40).map(|n: u64| 100 * (n - n.saturating_sub(10).min(10))).collect();
        ReaderReport {
            bytes: 3000,
            seconds: 4.0,
            series,
            small: vec![],
            error: None,
            usage: Usage::default(),
        }
    }

    #[test]
    fn goodput_is_measured_between_two_times() {
        let reading = with_a_gap();
        assert_eq!(reading.goodput(0.0, 1.0), 8000.0);
        assert_eq!(reading.goodput(0.25, 0.75), 8000.0);
        assert_eq!(reading.goodput(1.0, 2.0), 0.0);
        assert_eq!(reading.goodput(0.0, 4.0), reading.overall());
    }

    #[test]
    fn recovery_is_measured_after_the_worst_second() {
        let reading = with_a_gap();
        for event in [1.0, 0.0] {
            let after = reading.recovery(event, 4.0, 7900.0).unwrap();
            assert!((event + after - 2.0).abs() < 0.01, "{after}");
        }
        assert_eq!(reading.recovery(2.0, 4.0, 7900.0), Some(0.0));
        assert_eq!(reading.recovery(1.0, 4.0, 9000.0), None);
    }

    #[test]
    fn the_worst_second_is_found() {
        assert_eq!(with_a_gap().worst_second(0.0, 4.0).map(|(_, lowest)| lowest), Some(0.0));
    }
}
