//! Tables for people who tune: what every link gives, and how one run goes.

use crate::ladder::{names, over};
use crate::link::Cause;
use crate::report::Report;
use crate::rivals::{EARLY, LATE, Order, Rival};
use crate::{Time, auto, ms, secs};
use std::time::Duration;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

const ALL: [Cause; 4] = [Cause::Random, Cause::Queue, Cause::Policer, Cause::Outage];

#[test]
#[ignore = "a table for people; it asserts nothing"]
fn figures() {
    println!(
        "{:20} cold   min  steady  min  worst s  lost %  queue drops  wait p95  fill ms (worst)",
        "link"
    );
    for name in names() {
        let reports: Vec<Report> = SEEDS.map(|seed| over(name, seed).run(auto)).collect();
        let sorted = |figure: &dyn Fn(&Report) -> f64| {
            let mut figures: Vec<f64> = reports.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let percent = |figure: &dyn Fn(&Report) -> f64| sorted(figure).into_iter().map(|part| part * 100.0);
        let (least, middle) = (0, reports.len() / 2);
        let cold: Vec<f64> = percent(&Report::cold).collect();
        let steady: Vec<f64> = percent(&Report::steady).collect();
        let worst = percent(&|report| report.worst_second(secs(4)..secs(20))).next().unwrap();
        let lost: Vec<f64> = percent(&|report| report.lost(secs(4)..secs(20), &ALL)).collect();
        let drops = sorted(&|report| report.drops(Time::ZERO..secs(20), &[Cause::Queue]) as f64);
        let wait = sorted(&|report| millis(report.queue_delay(secs(4)..secs(20), 0.95)));
        let fill = sorted(&|report| report.filled().map_or(f64::INFINITY, millis));
        println!(
            "{name:20} {:4.1}  {:4.1}  {:4.1}   {:4.1}  {worst:7.1}  {:6.1}  {:11}  {:8.1}  {:7.0} ({:.0})",
            cold[middle],
            cold[least],
            steady[middle],
            steady[least],
            lost[middle],
            drops[drops.len() - 1],
            wait[middle],
            fill[middle],
            fill[fill.len() - 1],
        );
    }
}

/// Shares beside another flow, with the median and the least of the seeds.
#[test]
#[ignore = "a table for people; it asserts nothing"]
fn beside() {
    println!(
        "rival    came   jitter  4 s to 20 s: rival, ours      the 40 s after: rival, ours  wait p50 p95"
    );
    for (jitter, rival, order) in all_meetings() {
        let reports: Vec<Report> = SEEDS.map(|seed| rival.beside_auto(order, jitter, seed)).collect();
        let wait = |part| millis(reports[0].queue_delay(LATE, part));
        let shares = [(1, EARLY), (0, EARLY), (1, LATE), (0, LATE)].map(|(flow, during)| {
            let mut shares: Vec<f64> =
                reports.iter().map(|report| report.share_of(flow, during.clone()) * 100.0).collect();
            shares.sort_by(f64::total_cmp);
            format!("{:5.1} ({:4.1})", shares[shares.len() / 2], shares[0])
        });
        println!(
            "{:8} {:6} {:6.1}  {}  {:4.0} {:4.0}",
            rival.name(),
            order.name(),
            millis(jitter),
            shares.join("  "),
            wait(0.5),
            wait(0.95)
        );
    }
}

fn all_meetings() -> impl Iterator<Item = (Time, Rival, Order)> {
    let orders = |jitter, rival| Order::ALL.map(|order| (jitter, rival, order));
    [Time::ZERO, ms(1)]
        .into_iter()
        .flat_map(move |jitter| Rival::ALL.into_iter().flat_map(move |rival| orders(jitter, rival)))
}

/// `DOCXY_TRACE=transpacific-5%:3` names link and seed; `bbr` or `cubic` as a link is one with it there.
#[test]
#[ignore = "a table for people; it asserts nothing"]
fn trace() {
    let wanted = std::env::var("DOCXY_TRACE").unwrap_or_else(|_| "transpacific-5%:1".to_owned());
    let (name, seed) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    let seed = seed.parse().unwrap();
    let report = match Rival::ALL.into_iter().find(|rival| rival.name() == name) {
        Some(rival) => rival.beside_auto(Order::RivalFirst, Time::ZERO, seed),
        None => over(name, seed).run(auto),
    };
    println!("{}", report.run);
    println!(
        "    s  phase         Mbit/s: known  delivered  window kB  in flight  wait ms  lost kB  lost %: known"
    );
    let mut lost = 0;
    for sample in &report.trace {
        let delivered = report.rate(sample.at.saturating_sub(ms(100))..sample.at);
        println!(
            "{:5.1}  {:12}  {:13.1}  {:9.1}  {:9}  {:9}  {:7.1}  {:7}  {:13.1}",
            sample.at.as_secs_f64(),
            sample.measured.phase,
            sample.measured.rate.map_or(f64::NAN, |rate| rate.bits_per_second() as f64 / 1e6),
            delivered / 1e6,
            sample.measured.window / 1000,
            sample.in_flight / 1000,
            millis(sample.queue),
            (sample.lost - lost) / 1000,
            sample.measured.loss * 100.0,
        );
        lost = sample.lost;
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
