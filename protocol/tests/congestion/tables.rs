//! Tables for developers who tune the algorithm: results of each scenario, and one run over time.

use crate::competing_flows::{CompetingFlow, EARLY_PERIOD, LATE_PERIOD, StartOrder};
use crate::simulator::link::DropCause;
use crate::simulator::report::Report;
use crate::simulator::scenarios::{names, scenario};
use crate::{Time, auto, ms, secs};
use std::time::Duration;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

const ALL: [DropCause; 4] = [DropCause::Random, DropCause::Queue, DropCause::Policer, DropCause::Outage];

#[test]
#[ignore = "prints a table; it asserts nothing"]
fn scenarios_table() {
    println!(
        "{:20} cold   min  steady  min  worst s  lost %  queue drops  delay p95  fill ms (worst)",
        "scenario"
    );
    for name in names() {
        let reports: Vec<Report> = SEEDS.map(|seed| scenario(name, seed).run(auto)).collect();
        let sorted = |figure: &dyn Fn(&Report) -> f64| {
            let mut values: Vec<f64> = reports.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let percent = |figure: &dyn Fn(&Report) -> f64| sorted(figure).into_iter().map(|share| share * 100.0);
        let (minimum, median) = (0, reports.len() / 2);
        let cold: Vec<f64> = percent(&Report::cold).collect();
        let steady: Vec<f64> = percent(&Report::steady).collect();
        let worst = percent(&|report| report.worst_second(secs(4)..secs(20))).next().unwrap();
        let lost: Vec<f64> = percent(&|report| report.loss_rate(secs(4)..secs(20), &ALL)).collect();
        let drops = sorted(&|report| report.drop_count(Time::ZERO..secs(20), &[DropCause::Queue]) as f64);
        let delay = sorted(&|report| millis(report.queue_delay(secs(4)..secs(20), 0.95)));
        let fill = sorted(&|report| report.time_to_fill().map_or(f64::INFINITY, millis));
        println!(
            "{name:20} {:4.1}  {:4.1}  {:4.1}   {:4.1}  {worst:7.1}  {:6.1}  {:11}  {:8.1}  {:7.0} ({:.0})",
            cold[median],
            cold[minimum],
            steady[median],
            steady[minimum],
            lost[median],
            drops[drops.len() - 1],
            delay[median],
            fill[median],
            fill[fill.len() - 1],
        );
    }
}

/// Shares beside another flow: median and minimum of the seeds.
#[test]
#[ignore = "prints a table; it asserts nothing"]
fn competing_flows_table() {
    println!(
        "flow     first  jitter  4 s to 20 s: flow, auto       the 40 s after: flow, auto   delay p50 p95"
    );
    for (jitter, competitor, order) in all_pairings() {
        let reports: Vec<Report> =
            SEEDS.map(|seed| competitor.run_beside_auto(order, jitter, seed)).collect();
        let delay = |share| millis(reports[0].queue_delay(LATE_PERIOD, share));
        let shares = [(1, EARLY_PERIOD), (0, EARLY_PERIOD), (1, LATE_PERIOD), (0, LATE_PERIOD)].map(
            |(flow, period)| {
                let mut shares: Vec<f64> = reports
                    .iter()
                    .map(|report| report.utilization_of(flow, period.clone()) * 100.0)
                    .collect();
                shares.sort_by(f64::total_cmp);
                format!("{:5.1} ({:4.1})", shares[shares.len() / 2], shares[0])
            },
        );
        println!(
            "{:8} {:6} {:6.1}  {}  {:4.0} {:4.0}",
            competitor.name(),
            order.name(),
            millis(jitter),
            shares.join("  "),
            delay(0.5),
            delay(0.95)
        );
    }
}

fn all_pairings() -> impl Iterator<Item = (Time, CompetingFlow, StartOrder)> {
    let orders = |jitter, competitor| StartOrder::ALL.map(|order| (jitter, competitor, order));
    [Time::ZERO, ms(1)].into_iter().flat_map(move |jitter| {
        CompetingFlow::ALL.into_iter().flat_map(move |competitor| orders(jitter, competitor))
    })
}

/// `DOCXY_TRACE=transpacific-5%:3` selects scenario and seed; `bbr` or `cubic` as the scenario is a competing
/// flow.
#[test]
#[ignore = "prints a table; it asserts nothing"]
fn trace() {
    let selection = std::env::var("DOCXY_TRACE").unwrap_or_else(|_| "transpacific-5%:1".to_owned());
    let (name, seed) = selection.split_once(':').unwrap_or((&selection, "1"));
    let seed = seed.parse().unwrap();
    let report = match CompetingFlow::ALL.into_iter().find(|competitor| competitor.name() == name) {
        Some(competitor) => competitor.run_beside_auto(StartOrder::CompetitorFirst, Time::ZERO, seed),
        None => scenario(name, seed).run(auto),
    };
    println!("{}", report.label);
    println!(
        "    s  phase            Mbit/s: known  delivered  window kB  in flight  delay ms  lost kB  loss %: known"
    );
    let mut lost = 0;
    for point in &report.trace {
        let delivered = report.rate(point.at.saturating_sub(ms(100))..point.at);
        println!(
            "{:5.1}  {:15}  {:13.1}  {:9.1}  {:9}  {:9}  {:8.1}  {:7}  {:13.1}",
            point.at.as_secs_f64(),
            point.measured.phase,
            point.measured.rate.map_or(f64::NAN, |rate| rate.bits_per_second() as f64 / 1e6),
            delivered / 1e6,
            point.measured.window / 1000,
            point.in_flight / 1000,
            millis(point.queue_delay),
            (point.lost_bytes - lost) / 1000,
            point.measured.loss.unwrap_or_default() * 100.0,
        );
        lost = point.lost_bytes;
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
