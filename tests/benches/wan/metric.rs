//! One named number of a measurement, as a scenario reports it.
//! Must never be computed from other metrics: metrics are for people, and the JSON holds the measurements.

use serde::Serialize;

/// A number in a column.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Metric {
    /// The column.
    pub(super) name: &'static str,
    /// NaN if it could not be measured.
    pub(super) value: f64,
    /// The number of decimals that are significant.
    #[serde(skip)]
    pub(super) decimals: usize,
    /// Whether it is a throughput, which is compared between subjects.
    #[serde(skip)]
    pub(super) is_throughput: bool,
}

impl Metric {
    pub(super) fn new(name: &'static str, value: f64, decimals: usize) -> Self {
        Self { name, value, decimals, is_throughput: false }
    }

    /// A share of one, as a percentage.
    pub(super) fn percent(name: &'static str, share: f64) -> Self {
        Self::new(name, share * 100.0, 1)
    }

    /// A throughput as a percentage of the link's rate.
    pub(super) fn throughput(name: &'static str, share: f64) -> Self {
        Self { is_throughput: true, ..Self::percent(name, share) }
    }

    /// Seconds; NaN if the event did not happen.
    pub(super) fn seconds(name: &'static str, seconds: Option<f64>) -> Self {
        Self::new(name, seconds.unwrap_or(f64::NAN), 1)
    }
}
