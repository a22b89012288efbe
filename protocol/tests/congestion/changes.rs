//! What Auto makes of a link that is policed, goes away, or becomes another.

use crate::ladder::{ACROSS_THE_SEA, POLICED};
use crate::link::{Cause, Conditions, Loss};
use crate::simulation::Simulation;
use crate::{SEEDS, Time, auto, ms, secs};

const EVENT: Time = secs(8);
const RTT: Time = ms(200);

/// In the long run, of what is sent; and of the policer's rate, what is delivered.
const POLICED_LOSS: f64 = 0.13;
const POLICED_SHARE: f64 = 0.85;

const OVER_AN_OUTAGE: Time = ms(2500);
const OVER_ANOTHER_RATE: Time = secs(4);
/// From then on no packet waits longer than this at half the rate. A queue of the old rate's product
/// has to drain first, and where there is loss besides, it is a cycle or two until that is believed.
const HALVED_SETTLED: Time = secs(10);
const HALVED_WAIT: Time = ms(130);
const LONGER_RTT_SHARE: f64 = 0.75;

/// On a clean link, and on one that loses besides.
fn runs(name: &str, change: impl Fn(Simulation) -> Simulation) -> Vec<Simulation> {
    let lossy = ACROSS_THE_SEA.losing(Loss::Random(0.02));
    let variants = [("", ACROSS_THE_SEA), (", 2 % loss", lossy)];
    SEEDS
        .flat_map(|seed| {
            variants.map(|(note, link)| change(Simulation::new(&format!("{name}{note}"), link, seed)))
        })
        .collect()
}

#[test]
fn a_policer_is_not_fought() {
    for seed in SEEDS {
        let report = Simulation::new("policed", POLICED, seed).lasting(secs(30)).run(auto);
        let lost = report.lost(EVENT..secs(30), &[Cause::Policer]);
        assert!(lost <= POLICED_LOSS, "{}: loses {lost:.3}", report.run);
        let share = report.rate(EVENT..secs(30)) / 20e6;
        assert!(share >= POLICED_SHARE, "{}: gets {share:.3} of what passes", report.run);
    }
}

#[test]
fn an_outage_is_over_when_it_ends() {
    for simulation in runs("outage", |simulation| simulation.outage(EVENT, secs(3))) {
        let report = simulation.run(auto);
        let over = report.recovered(EVENT + secs(3), RTT, 100e6);
        assert!(over.is_some_and(|time| time <= OVER_AN_OUTAGE), "{}: {over:?}", report.run);
    }
}

#[test]
fn half_the_rate_is_found() {
    for simulation in
        runs("halved", |simulation| simulation.at(EVENT, |link| Conditions { rate: 50_000_000, ..link }))
    {
        let report = simulation.run(auto);
        let found = report.recovered(EVENT, RTT, 50e6);
        assert!(found.is_some_and(|time| time <= OVER_ANOTHER_RATE), "{}: {found:?}", report.run);
        let settled = report.settled(EVENT, HALVED_WAIT);
        assert!(settled <= HALVED_SETTLED, "{}: settles after {settled:?}", report.run);
        let share = report.rate(EVENT..secs(20)) / 50e6;
        assert!(share >= 0.85, "{}: gets {share:.3} of what is left", report.run);
    }
}

#[test]
fn twice_the_rate_is_found() {
    for simulation in
        runs("doubled", |simulation| simulation.at(EVENT, |link| Conditions { rate: 200_000_000, ..link }))
    {
        let report = simulation.run(auto);
        let found = report.recovered(EVENT, RTT, 200e6);
        assert!(found.is_some_and(|time| time <= OVER_ANOTHER_RATE), "{}: {found:?}", report.run);
    }
}

#[test]
fn a_longer_way_is_no_congestion() {
    for simulation in
        runs("RTT doubled", |simulation| simulation.at(EVENT, |link| Conditions { rtt: ms(400), ..link }))
    {
        let report = simulation.lasting(secs(30)).run(auto);
        let share = report.share(secs(12)..secs(30));
        assert!(share >= LONGER_RTT_SHARE, "{}: {share:.3}", report.run);
    }
}
