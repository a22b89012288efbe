//! How Fixed uses a link at a stated rate.

use crate::simulator::link::{Conditions, DropCause, Loss};
use crate::simulator::scenarios::{POLICED, SAME_HOUSE, TRANSPACIFIC};
use crate::simulator::simulation::Simulation;
use crate::{MTU, Time, ms, secs, seeds};
use docxy_protocol::congestion::{Fixed, Rate};
use std::time::Instant;

/// Maximum deviation of the share of the link from the stated 95 %.
const SHARE_TOLERANCE: f64 = 0.02;
/// Payload ÷ IP packet. The stated rate is that of the payload.
const PAYLOAD_SHARE: f64 = 0.96;
const QUEUE_DELAY_MAX: Time = ms(10);
/// Loss rate with a policer that passes a fifth of the stated rate. Without backing off it would be 0.8.
const POLICED_LOSS_MAX: f64 = 0.35;
/// Utilization with a stated rate of nine times the link's.
const OVERSTATED_UTILIZATION_MIN: f64 = 0.8;

fn fixed_95_mbit(_now: Instant) -> Fixed {
    fixed_rate(95)
}

fn fixed_rate(mbit: u64) -> Fixed {
    Fixed::new(Rate::from_bits_per_second(mbit * 1_000_000).expect("within bounds"), MTU as u16)
}

#[test]
fn keeps_the_stated_rate_at_any_loss() {
    for loss in [0.0, 0.01, 0.05, 0.10, 0.15] {
        for seed in seeds() {
            let link = TRANSPACIFIC.with_loss(Loss::Random(loss));
            let report = Simulation::new(&format!("stated, loss {loss}"), link, seed).run(fixed_95_mbit);
            let share = report.steady() * PAYLOAD_SHARE;
            assert!((share - 0.95).abs() <= SHARE_TOLERANCE, "{}: {share:.3}", report.label);
            let delay = report.queue_delay(secs(4)..secs(20), 0.95);
            assert!(delay <= QUEUE_DELAY_MAX, "{}: queue delay {delay:?}", report.label);
        }
    }
}

#[test]
fn backs_off_from_a_policer() {
    let report = Simulation::new("stated, policed", POLICED, 1).duration(secs(30)).run(fixed_95_mbit);
    let loss = report.loss_rate(secs(4)..secs(30), &[DropCause::Policer]);
    assert!(loss <= POLICED_LOSS_MAX, "{}: loses {loss:.3}", report.label);
    assert!(report.rate(secs(4)..secs(30)) >= 15e6, "{}", report.label);
}

#[test]
fn keeps_most_of_the_rate_on_a_path_shorter_than_host_jitter() {
    for seed in seeds() {
        let report = Simulation::new("stated, same house", SAME_HOUSE, seed).run(|_| fixed_rate(950));
        let share = report.steady() * PAYLOAD_SHARE;
        assert!((0.85..0.95 + SHARE_TOLERANCE).contains(&share), "{}: {share:.3}", report.label);
    }
}

#[test]
fn reaches_a_low_rate_on_a_short_path() {
    let link = Conditions { queue_limit: 100_000, ..Conditions::clean(10, ms(5)) };
    let report = Simulation::new("small", link, 1).run(|_| fixed_rate(9));
    assert!(report.steady() * PAYLOAD_SHARE >= 0.88, "{}: {:.3}", report.label, report.steady());
}

#[test]
fn an_overstated_rate_still_uses_most_of_the_link() {
    for seed in seeds() {
        for (name, link, mbit) in [("same house", SAME_HOUSE, 9000), ("sea", TRANSPACIFIC, 900)] {
            let name = format!("nine times, {name}");
            let report = Simulation::new(&name, link, seed).duration(secs(60)).run(|_| fixed_rate(mbit));
            let share = report.rate(secs(4)..secs(60)) / link.rate as f64;
            assert!(share >= OVERSTATED_UTILIZATION_MIN, "{}: {share:.3}", report.label);
        }
    }
}
