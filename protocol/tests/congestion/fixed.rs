//! What a stated rate gives.

use crate::ladder::{ACROSS_THE_SEA, POLICED, SAME_HOUSE};
use crate::link::{Cause, Conditions, Loss};
use crate::simulation::Simulation;
use crate::{MTU, SEEDS, Time, ms, secs};
use docxy_protocol::congestion::{Fixed, Rate};
use std::time::Instant;

/// How far from its 95 % it may be.
const OFF: f64 = 0.02;
/// A payload's part of the IP packets that carry it: what is stated is the payload's rate.
const PAYLOAD: f64 = 0.96;
const STATED_WAIT: Time = ms(10);
/// Of what is sent into a policer that passes a fifth. Without backing off it would be 0.8.
const POLICED_LOSS: f64 = 0.35;
/// Of the link, where the rate that is stated is nine times what it carries.
const STATED_TOO_MUCH: f64 = 0.8;

fn fixed(_now: Instant) -> Fixed {
    stating(95)
}

fn stating(mbit: u64) -> Fixed {
    Fixed::new(Rate::from_bits_per_second(mbit * 1_000_000).expect("within bounds"), MTU as u16)
}

#[test]
fn a_stated_rate_is_kept_whatever_is_lost() {
    for loss in [0.0, 0.01, 0.05, 0.10, 0.15] {
        for seed in SEEDS {
            let link = ACROSS_THE_SEA.losing(Loss::Random(loss));
            let report = Simulation::new(&format!("stated, loss {loss}"), link, seed).run(fixed);
            let share = report.steady() * PAYLOAD;
            assert!((share - 0.95).abs() <= OFF, "{}: {share:.3}", report.run);
            let wait = report.queue_delay(secs(4)..secs(20), 0.95);
            assert!(wait <= STATED_WAIT, "{}: waits {wait:?}", report.run);
        }
    }
}

#[test]
fn a_stated_rate_backs_off_from_a_policer() {
    let report = Simulation::new("stated, policed", POLICED, 1).lasting(secs(30)).run(fixed);
    let lost = report.lost(secs(4)..secs(30), &[Cause::Policer]);
    assert!(lost <= POLICED_LOSS, "{}: loses {lost:.3}", report.run);
    assert!(report.rate(secs(4)..secs(30)) >= 15e6, "{}", report.run);
}

#[test]
fn most_of_a_rate_is_kept_on_a_link_that_is_shorter_than_the_hosts_time_slices() {
    for seed in SEEDS {
        let report = Simulation::new("stated, same house", SAME_HOUSE, seed).run(|_| stating(950));
        let share = report.steady() * PAYLOAD;
        assert!((0.85..0.95 + OFF).contains(&share), "{}: {share:.3}", report.run);
    }
}

#[test]
fn a_small_rate_on_a_short_link_is_reached() {
    let link = Conditions { queue: 100_000, ..Conditions::clean(10, ms(5)) };
    let report = Simulation::new("small", link, 1).run(|_| stating(9));
    assert!(report.steady() * PAYLOAD >= 0.88, "{}: {:.3}", report.run, report.steady());
}

#[test]
fn a_rate_beyond_what_the_link_carries_gives_most_of_what_it_carries() {
    for seed in SEEDS {
        for (name, link, mbit) in [("same house", SAME_HOUSE, 9000), ("sea", ACROSS_THE_SEA, 900)] {
            let name = format!("nine times, {name}");
            let report = Simulation::new(&name, link, seed).lasting(secs(60)).run(|_| stating(mbit));
            let share = report.rate(secs(4)..secs(60)) / link.rate as f64;
            assert!(share >= STATED_TOO_MUCH, "{}: {share:.3}", report.run);
        }
    }
}
