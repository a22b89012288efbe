//! How Auto reacts to a policer, an outage, and a changed link.

use crate::simulator::link::{Conditions, DropCause, Loss};
use crate::simulator::scenarios::{POLICED, TRANSPACIFIC};
use crate::simulator::simulation::Simulation;
use crate::{Time, auto, ms, secs, seeds};

const CHANGE_AT: Time = secs(8);
const RTT: Time = ms(200);

/// Loss rate at a policer in the long run.
const POLICED_LOSS_MAX: f64 = 0.13;

/// Delivered rate ÷ policer rate in the long run.
const POLICED_SHARE_MIN: f64 = 0.85;

/// Time from the end of an outage until the link is full.
const OUTAGE_RECOVERY_MAX: Time = ms(2500);

/// Time until the link is full at its new rate.
const RATE_ADAPTATION_MAX: Time = secs(4);
/// Time until no packet's queue delay exceeds [`HALVED_QUEUE_DELAY_MAX`] after the rate was halved. A queue
/// of one BDP at the old rate has to drain first, and with loss it takes one or two cycles to trust the lower
/// rate.
const HALVED_SETTLE_TIME_MAX: Time = secs(10);
const HALVED_QUEUE_DELAY_MAX: Time = ms(130);
const LONGER_RTT_UTILIZATION_MIN: f64 = 0.75;

/// Simulations on a clean link and on a link with 2 % loss.
fn simulations(name: &str, change: impl Fn(Simulation) -> Simulation) -> Vec<Simulation> {
    let lossy = TRANSPACIFIC.with_loss(Loss::Random(0.02));
    let variants = [("", TRANSPACIFIC), (", 2 % loss", lossy)];
    seeds()
        .flat_map(|seed| {
            variants.map(|(note, link)| change(Simulation::new(&format!("{name}{note}"), link, seed)))
        })
        .collect()
}

#[test]
fn does_not_overdrive_a_policer() {
    for seed in seeds() {
        let report = Simulation::new("policed", POLICED, seed).duration(secs(30)).run(auto);
        let loss = report.loss_rate(CHANGE_AT..secs(30), &[DropCause::Policer]);
        assert!(loss <= POLICED_LOSS_MAX, "{}: loses {loss:.3}", report.label);
        let share = report.rate(CHANGE_AT..secs(30)) / 20e6;
        assert!(share >= POLICED_SHARE_MIN, "{}: gets {share:.3} of the policer's rate", report.label);
    }
}

#[test]
fn recovers_after_an_outage() {
    for simulation in simulations("outage", |simulation| simulation.outage(CHANGE_AT, secs(3))) {
        let report = simulation.run(auto);
        let recovery = report.time_to_recover(CHANGE_AT + secs(3), RTT, 100e6);
        assert!(recovery.is_some_and(|time| time <= OUTAGE_RECOVERY_MAX), "{}: {recovery:?}", report.label);
    }
}

#[test]
fn adapts_to_half_the_rate() {
    for simulation in simulations("halved", |simulation| {
        simulation.change_at(CHANGE_AT, |link| Conditions { rate: 50_000_000, ..link })
    }) {
        let report = simulation.run(auto);
        let adaptation = report.time_to_recover(CHANGE_AT, RTT, 50e6);
        assert!(
            adaptation.is_some_and(|time| time <= RATE_ADAPTATION_MAX),
            "{}: {adaptation:?}",
            report.label
        );
        let settle_time = report.time_to_settle(CHANGE_AT, HALVED_QUEUE_DELAY_MAX);
        assert!(settle_time <= HALVED_SETTLE_TIME_MAX, "{}: settled after {settle_time:?}", report.label);
        let share = report.rate(CHANGE_AT..secs(20)) / 50e6;
        assert!(share >= 0.85, "{}: gets {share:.3} of the new rate", report.label);
    }
}

#[test]
fn adapts_to_twice_the_rate() {
    for simulation in simulations("doubled", |simulation| {
        simulation.change_at(CHANGE_AT, |link| Conditions { rate: 200_000_000, ..link })
    }) {
        let report = simulation.run(auto);
        let adaptation = report.time_to_recover(CHANGE_AT, RTT, 200e6);
        assert!(
            adaptation.is_some_and(|time| time <= RATE_ADAPTATION_MAX),
            "{}: {adaptation:?}",
            report.label
        );
    }
}

#[test]
fn a_longer_rtt_is_not_taken_for_congestion() {
    for simulation in simulations("RTT doubled", |simulation| {
        simulation.change_at(CHANGE_AT, |link| Conditions { rtt: ms(400), ..link })
    }) {
        let report = simulation.duration(secs(30)).run(auto);
        let share = report.utilization(secs(12)..secs(30));
        assert!(share >= LONGER_RTT_UTILIZATION_MIN, "{}: {share:.3}", report.label);
    }
}
