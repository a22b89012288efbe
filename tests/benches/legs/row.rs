//! The measurements of a case, and their table.
//! Must never hide a failure: it has a row, and a note below the table with its cause.

use std::fmt::{self, Display};

use anyhow::{Error, Result};
use docxy_tests::table::{Table, median_and_range};
use serde::Serialize;

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Columns with values; NaN where there is none.
    values: Vec<(&'static str, f64)>,
    /// Why it failed.
    pub(crate) failed: Option<String>,
}

impl Row {
    /// A measurement with this outcome.
    pub(super) fn new(name: impl Into<String>, outcome: Result<Vec<(&'static str, f64)>>) -> Self {
        let failed = |error: Error| (Vec::new(), Some(format!("{error:#}")));
        let (values, failed) = outcome.map_or_else(failed, |values| (values, None));
        Self { name: name.into(), values, failed }
    }

    /// The value in this column.
    pub(crate) fn value(&self, column: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == column).map(|(_, value)| *value)
    }
}

/// A table with notes.
pub(super) struct Results {
    table: Table,
    notes: Vec<String>,
}

/// A line for each name, with medians and ranges.
pub(super) fn table(rows: &[Row]) -> Results {
    let columns: Vec<&str> =
        rows.iter().max_by_key(|row| row.values.len()).into_iter().flat_map(Row::columns).collect();
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let mut heads = vec![""];
    heads.extend(&columns);
    let mut table = Table::new(&heads);
    for name in names {
        let of_name = || rows.iter().filter(|row| row.name == name);
        let cells = columns.iter().map(|column| {
            let values = of_name().flat_map(|row| &row.values).filter(|(found, _)| found == column);
            median_and_range(
                &values.map(|(_, value)| *value).filter(|value| value.is_finite()).collect::<Vec<_>>(),
                2,
            )
        });
        table.row([name.to_owned()].into_iter().chain(cells));
    }
    let notes = rows.iter().filter_map(|row| Some(format!("{}: failed: {}", row.name, row.failed.as_ref()?)));
    Results { table, notes: notes.collect() }
}

impl Row {
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(column, _)| *column)
    }
}

impl Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.table)?;
        self.notes.iter().try_for_each(|note| writeln!(out, "! {note}"))
    }
}
