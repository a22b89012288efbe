//! One number that the product must reach, and the table of all.
//! Must never hide one that was not measured: it has a row, and counts as missed.

use std::fmt::{self, Display};

use docxy_tests::{
    statistics::median,
    table::{Table, median_and_range, number},
};
use serde::Serialize;

/// What is wanted of a number, whose median counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// A number and what is wanted of it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    case: String,
    name: String,
    wanted: Wanted,
    measured: Vec<f64>,
}

/// All numbers, in the order of their measurement.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    pub(crate) fn add(
        &mut self,
        case: impl Into<String>,
        name: impl Into<String>,
        wanted: Wanted,
        measured: impl IntoIterator<Item = f64>,
    ) {
        let measured = measured.into_iter().filter(|value| value.is_finite()).collect();
        self.0.push(Figure { case: case.into(), name: name.into(), wanted, measured });
    }
}

impl Wanted {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl Display for Wanted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(out, "≥ {least}"),
            Self::AtMost(most) => write!(out, "≤ {most}"),
        }
    }
}

impl Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as the finest limit has, and one more.
        const DECIMALS: usize = 3;
        let mut table = Table::new(&["case", "figure", "wanted", "measured", ""]);
        for Figure { case, name, wanted, measured } in &self.0 {
            let found = if measured.is_empty() {
                number(f64::NAN, DECIMALS)
            } else {
                median_and_range(measured, DECIMALS)
            };
            let verdict = if wanted.is_met_by(median(measured.iter().copied())) { "" } else { "missed" };
            table.row([case.clone(), name.clone(), wanted.to_string(), found, verdict.to_owned()]);
        }
        table.fmt(out)
    }
}
