//! The choice of the leg on simulated networks, over minutes and days. Time is virtual, and the same seed gives the
//! same result.

mod days;
mod ladder;
mod simulator;

use docxy_client::tunnel::leg::Knowledge;
use simulator::client::Simulation;
use simulator::network::{Network, Timeline};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Time since the start of a simulation.
type Time = Duration;

/// The seeds of each test: two of them, or the number in `DOCXY_TEST_SEEDS`, as in `scripts/test --all`.
fn seeds() -> RangeInclusive<u64> {
    let count =
        std::env::var("DOCXY_TEST_SEEDS").map(|count| count.parse().expect("DOCXY_TEST_SEEDS is a number"));
    1..=count.unwrap_or(2)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// An hour with bulk all the time, on this network from a time on.
fn busy(changes: &[(Time, Network)], seed: u64) -> Simulation {
    Simulation {
        timeline: Timeline(changes.to_vec()),
        pulls: vec![(Time::ZERO, f64::MAX)],
        duration: minutes(60),
        knows_loss: true,
        has_proxy: false,
        known: Knowledge::default(),
        seed,
    }
}
