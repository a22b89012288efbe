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
}

impl Metric {
    pub(super) fn new(name: &'static str, value: f64, decimals: usize) -> Self {
        Self { name, value, decimals }
    }

    /// A share of one, as a percentage.
    pub(super) fn percent(name: &'static str, share: f64) -> Self {
        Self::new(name, share * 100.0, 1)
    }

    /// Seconds; NaN if the event did not happen.
    pub(super) fn seconds(name: &'static str, seconds: Option<f64>) -> Self {
        Self::new(name, seconds.unwrap_or(f64::NAN), 1)
    }
}
