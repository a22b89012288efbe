//! One number of a measurement with its name, so that a scenario can report what matters in it.
//! Must never be computed from metrics: those are for people, and the JSON has what was measured.

use serde::Serialize;

/// A number for a column.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Metric {
    /// The column.
    pub(super) name: &'static str,
    /// NaN for what could not be measured.
    pub(super) value: f64,
    /// How many decimals mean something.
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

    /// Seconds; NaN for what never came.
    pub(super) fn seconds(name: &'static str, seconds: Option<f64>) -> Self {
        Self::new(name, seconds.unwrap_or(f64::NAN), 1)
    }
}
