//! Plain-text tables: a header, a rule, rows. The first column is left-aligned, the others right-aligned.
//! Must never know the meaning of a cell.

use crate::statistics::{max, median, min};
use std::fmt::{self, Display};

/// A table that grows by rows.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles.
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|column| (*column).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match at {
                    0 => write!(out, "{cell:width$}")?,
                    _ => write!(out, "  {cell:>width$}")?,
                }
            }
            writeln!(out)?;
            if number == 0 {
                writeln!(
                    out,
                    "{}",
                    "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1))
                )?;
            }
        }
        Ok(())
    }
}

/// Formats a number with this many decimals, and NaN or infinity as a dash.
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() }
}

/// The median, and the range if there are several values.
pub fn median_and_range(values: &[f64], decimals: usize) -> String {
    let number = |value| number(value, decimals);
    let values = || values.iter().copied();
    match values().count() {
        0 | 1 => number(median(values())),
        _ => format!("{} ({}-{})", number(median(values())), number(min(values())), number(max(values()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["what", "n"]);
        table.row(["a".to_owned(), number(12.345, 1)]);
        table.row(["longer".to_owned(), number(f64::NAN, 1)]);
        assert_eq!(table.to_string(), "what       n\n------------\na       12.3\nlonger     -\n");
    }
}
