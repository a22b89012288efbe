//! The outcome of each run, and the table of all.
//! Must never hide a failed run: it has a row, and a note below the table with the cause.

use std::fmt::{self, Display};

use anyhow::Error;
use docxy_tests::{
    statistics::{max, median},
    table::{Table, median_and_range, number},
    wan::Report,
};
use serde::Serialize;

use super::metric::Metric;
use crate::subject::Measurement;

/// The outcome of one run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) metrics: Vec<Metric>,
    /// All transfers of the subject, in order.
    pub(super) transfers: Vec<Measurement>,
    /// The report of the link.
    report: Option<Report>,
    /// Why the run failed.
    failed: Option<String>,
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(super) scenario: &'static str,
    pub(crate) link: &'static str,
    pub(super) seed: u64,
    pub(super) subject: &'static str,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

impl Outcome {
    pub(super) fn new(metrics: Vec<Metric>, transfers: Vec<Measurement>) -> Self {
        Self { metrics, transfers, ..Self::default() }
    }

    pub(super) fn failed(error: &Error) -> Self {
        Self { failed: Some(format!("{error:#}")), ..Self::default() }
    }

    /// Adds the report of the run's link.
    pub(super) fn on(self, report: Report) -> Self {
        Self { report: Some(report), ..self }
    }

    /// Notes for the reader of the table.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.failed.iter().map(|why| format!("failed: {why}")).collect();
        for report in self.transfers.iter().map(|transfer| &transfer.report) {
            if let Some(why) = &report.error {
                notes.push(format!("failed after {:.1} s: {why}", report.seconds));
            }
        }
        if let Some(report) = &self.report {
            let overrun = report.left_to_right.overrun + report.right_to_left.overrun;
            if overrun > 0 {
                notes.push(format!(
                    "the machine was too slow for this link: it dropped {overrun} packets before the emulator"
                ));
            }
        }
        notes
    }
}

/// The subject whose throughput is the measure of all others.
const REFERENCE: &str = "tcp-bbr";

/// Our subject that chooses a leg, and those with one leg alone.
const AUTO: &str = "ours";
const LEGS: [&str; 2] = ["ours-quic", "ours-tcp"];

/// A table with notes.
pub(super) struct Results {
    table: Table,
    /// Throughputs as ratios to the reference's, and of our choice to the better leg's.
    ratios: Vec<String>,
    notes: Vec<String>,
}

/// A row for each subject, over all seeds.
pub(super) fn table(rows: &[Row]) -> Results {
    let columns = rows.iter().map(|row| &row.outcome.metrics).find(|metrics| !metrics.is_empty());
    let columns: Vec<&Metric> = columns.into_iter().flatten().collect();
    let mut subjects: Vec<&str> = rows.iter().map(|row| row.subject).collect();
    // The subjects repeat for each seed.
    let count =
        subjects.iter().skip(1).position(|name| *name == subjects[0]).map_or(subjects.len(), |at| at + 1);
    subjects.truncate(count);

    let mut heads = vec!["subject"];
    heads.extend(columns.iter().map(|metric| metric.name));
    let mut table = Table::new(&heads);
    for subject in &subjects {
        let cells = columns
            .iter()
            .map(|metric| median_and_range(&values(rows, subject, metric.name), metric.decimals));
        table.row([(*subject).to_owned()].into_iter().chain(cells));
    }
    let others = subjects.iter().filter(|subject| **subject != REFERENCE && subjects.contains(&REFERENCE));
    let mut ratios: Vec<String> =
        others.filter_map(|subject| ratio_line(rows, subject, &[REFERENCE], &columns)).collect();
    if LEGS.iter().chain([&AUTO]).all(|subject| subjects.contains(subject)) {
        ratios.extend(ratio_line(rows, AUTO, &LEGS, &columns));
    }
    let notes = rows.iter().flat_map(|row| {
        let line = move |note| format!("{}, seed {}: {note}", row.subject, row.seed);
        row.outcome.notes().into_iter().map(line)
    });
    Results { table, ratios, notes: notes.collect() }
}

/// All values of a subject's metric, one for each seed.
pub(crate) fn values<'a>(rows: impl IntoIterator<Item = &'a Row>, subject: &str, metric: &str) -> Vec<f64> {
    let rows = rows.into_iter().filter(|row| row.subject == subject);
    let metrics = rows.flat_map(|row| &row.outcome.metrics).filter(|found| found.name == metric);
    metrics.map(|found| found.value).filter(|value| value.is_finite()).collect()
}

/// The subject's median throughputs as ratios to those of the best of these references; `None` if the scenario
/// measures none.
fn ratio_line(rows: &[Row], subject: &str, references: &[&str], columns: &[&Metric]) -> Option<String> {
    let median_of = |subject: &str, metric| median(values(rows, subject, metric));
    let ratio = |metric: &&Metric| {
        let best = max(references.iter().map(|reference| median_of(reference, metric.name)));
        format!("{} {}", metric.name, number(median_of(subject, metric.name) / best, 3))
    };
    let ratios: Vec<_> = columns.iter().filter(|metric| metric.is_throughput).map(ratio).collect();
    let best = if references.len() > 1 { "the best of " } else { "" };
    (!ratios.is_empty())
        .then(|| format!("{subject} / {best}{}: {}", references.join(", "), ratios.join(", ")))
}

impl Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.table)?;
        self.ratios.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        self.notes.iter().try_for_each(|note| writeln!(out, "! {note}"))
    }
}
