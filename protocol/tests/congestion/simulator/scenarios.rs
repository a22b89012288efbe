//! The scenarios: links with the names that the end-to-end tests and benches use, and two that are too short
//! for the link emulator.

use crate::simulator::link::{Conditions, Loss, Policer};
use crate::simulator::simulation::Simulation;
use crate::{ms, secs, us};
use std::time::Duration;

pub(crate) const TRANSPACIFIC: Conditions = Conditions::clean(100, ms(200));

pub(crate) const POLICED: Conditions =
    Conditions { policer: Some(Policer { rate: 20_000_000, burst: 125_000 }), ..TRANSPACIFIC };

/// Short links between busy hosts, whose jitter is longer than the path's RTT.
pub(crate) const SAME_HOUSE: Conditions =
    Conditions { jitter: ms(4), queue_limit: 2_000_000, ..Conditions::clean(1000, us(300)) };
const SAME_TOWN: Conditions =
    Conditions { jitter: ms(4), queue_limit: 500_000, ..Conditions::clean(100, ms(2)) };

const SCENARIOS: [(&str, Conditions); 13] = [
    ("same-house", SAME_HOUSE),
    ("same-town", SAME_TOWN),
    ("clean-metro", Conditions::clean(100, ms(10))),
    ("fat-metro", Conditions::clean(200, ms(10))),
    ("transpacific", TRANSPACIFIC),
    ("transpacific-1%", TRANSPACIFIC.with_loss(Loss::Random(0.01))),
    ("transpacific-5%", TRANSPACIFIC.with_loss(Loss::Random(0.05))),
    ("transpacific-10%", TRANSPACIFIC.with_loss(Loss::Random(0.10))),
    ("transpacific-15%", TRANSPACIFIC.with_loss(Loss::Random(0.15))),
    ("fat-transpacific-5%", Conditions::clean(300, ms(200)).with_loss(Loss::Random(0.05))),
    ("bursty-mobile", Conditions::clean(50, ms(250)).with_loss(Loss::Bursty(0.02, 8.0))),
    (
        "flaky-wifi",
        Conditions { jitter: ms(15), ..Conditions::clean(50, ms(60)).with_loss(Loss::Random(0.01)) },
    ),
    ("policed-udp", POLICED),
];

/// `flaky-wifi` has an outage at the end of each of these intervals.
const FLAKY_OUTAGE_INTERVAL: Duration = secs(8);
const FLAKY_OUTAGE_DURATION: Duration = ms(400);

/// Names of all scenarios.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SCENARIOS.iter().map(|(name, _)| *name)
}

/// 20 s of bulk in the scenario of this name.
pub(crate) fn scenario(name: &str, seed: u64) -> Simulation {
    let (name, link) = SCENARIOS.iter().find(|(known, _)| *known == name).expect("a link of the ladder");
    let simulation = Simulation::new(name, *link, seed);
    if *name != "flaky-wifi" {
        return simulation;
    }
    (1..=2).fold(simulation, |simulation, n| {
        simulation.outage(FLAKY_OUTAGE_INTERVAL * n - FLAKY_OUTAGE_DURATION, FLAKY_OUTAGE_DURATION)
    })
}
