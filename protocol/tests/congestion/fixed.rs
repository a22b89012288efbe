//! What a stated rate gives.

use crate::ladder::{ACROSS_THE_SEA, POLICED};
use crate::link::{Cause, Loss};
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

fn fixed(_now: Instant) -> Fixed {
    Fixed::new(Rate::from_bits_per_second(95_000_000).expect("within bounds"), MTU as u16)
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
