//! The results: a row for each engine and scenario.
//! Must never drop a slow pull: the table has the largest residual.

use std::{collections::BTreeMap, time::Duration};

use docxy_tests::{
    statistics::{max, median, min},
    table::{Table, number},
};
use serde::Serialize;

use super::{engine::EngineKind, linear_fit::LinearFit, pull::Pull, scenario::Scenario};

/// An engine in a scenario, over all links.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    engine: EngineKind,
    scenario: Scenario,
    /// The extra time of a pull per extra round-trip time: the slope of the fit.
    pub(crate) round_trips: f64,
    intercept_ms: f64,
    max_residual_ms: f64,
    links: Vec<Link>,
}

/// All pulls over one link.
#[derive(Debug, Serialize)]
struct Link {
    rtt_ms: f64,
    pulls: Vec<Pull>,
}

impl Row {
    pub(super) fn new(engine: EngineKind, scenario: Scenario, links: BTreeMap<Duration, Vec<Pull>>) -> Self {
        let links: Vec<Link> =
            links.into_iter().map(|(rtt, pulls)| Link { rtt_ms: rtt.as_secs_f64() * 1e3, pulls }).collect();
        let points: Vec<_> = links.iter().map(|link| (link.rtt_ms, link.median_ms())).collect();
        let LinearFit { slope, intercept, max_residual } = LinearFit::through(&points);
        Self {
            engine,
            scenario,
            round_trips: slope,
            intercept_ms: intercept,
            max_residual_ms: max_residual,
            links,
        }
    }

    /// The engine and the scenario.
    pub(crate) fn name(&self) -> String {
        format!("{}, {}", self.engine, self.scenario)
    }

    fn over_all_links(&self, of: impl Fn(&Pull) -> usize) -> String {
        let values: Vec<f64> =
            self.links.iter().flat_map(|link| &link.pulls).map(|pull| of(pull) as f64).collect();
        let values = || values.iter().copied();
        let (lowest, highest) = (number(min(values()), 0), number(max(values()), 0));
        if lowest == highest {
            highest
        } else {
            format!("{} ({lowest}-{highest})", number(median(values()), 0))
        }
    }
}

impl Link {
    fn median_ms(&self) -> f64 {
        median(self.pulls.iter().map(|pull| pull.seconds * 1e3))
    }
}

/// The table.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "engine",
        "scenario",
        "round trips",
        "intercept ms",
        "residual ms",
        "upstream",
        "manifest GETs",
    ]);
    for row in rows {
        table.row([
            row.engine.to_string(),
            row.scenario.to_string(),
            number(row.round_trips, 2),
            number(row.intercept_ms, 0),
            number(row.max_residual_ms, 0),
            row.over_all_links(|pull| pull.upstream.len()),
            row.over_all_links(|pull| pull.manifest_gets),
        ]);
    }
    table
}
