//! What Auto makes of each link that stays as it is.

use crate::ladder::{ACROSS_THE_SEA, over};
use crate::link::{Cause, Conditions};
use crate::report::Report;
use crate::sender::QUIC;
use crate::simulation::Simulation;
use crate::{MTU, SEEDS, Time, auto, ms, secs};

/// Of a link's rate: in the first 12 s, handshake included, and after 4 s.
const LEAST: [(&str, f64, f64); 12] = [
    ("same-house", 0.90, 0.95),
    ("same-town", 0.85, 0.88),
    ("clean-metro", 0.90, 0.93),
    ("fat-metro", 0.90, 0.93),
    ("transpacific", 0.85, 0.93),
    ("transpacific-1%", 0.82, 0.92),
    ("transpacific-5%", 0.76, 0.90),
    ("transpacific-10%", 0.70, 0.87),
    ("transpacific-15%", 0.55, 0.82),
    ("fat-transpacific-5%", 0.72, 0.86),
    ("bursty-mobile", 0.75, 0.85),
    ("flaky-wifi", 0.60, 0.65),
];

/// Without loss, from the first byte of bulk: three doublings and a bit.
const FILLED_WITHIN: Time = ms(1500);

/// On a clean link, half of the packets wait less than this part of the round trip, or than `SHORT_WAIT`;
/// a probe adds a quarter of a round trip for one round in ten, and 95 of 100 wait less than that and a bit.
const WAIT_PART: u32 = 16;
const SHORT_WAIT: Time = ms(5);
const PROBE_PART: f64 = 0.32;
const PROBE_WAIT: Time = ms(10);

#[test]
fn every_link_is_used() {
    let mut failed = Vec::new();
    for (name, cold, steady) in LEAST {
        for seed in SEEDS {
            let report = over(name, seed).run(auto);
            if report.cold() < cold || report.steady() < steady {
                failed.push(format!(
                    "{}: {:.3} cold (not {cold}), {:.3} steady (not {steady})",
                    report.run,
                    report.cold(),
                    report.steady()
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn startup_fills_the_link_and_not_the_queue() {
    let report = over("transpacific", 1).run(auto);
    let filled = report.filled();
    assert!(filled.is_some_and(|time| time <= FILLED_WITHIN), "{}: filled {filled:?}", report.run);
    assert_eq!(report.drops(Time::ZERO..secs(20), &[Cause::Queue]), 0, "{}", report.run);
}

#[test]
fn the_queue_stays_short() {
    for (name, rtt) in [("transpacific", ms(200)), ("clean-metro", ms(10)), ("fat-metro", ms(10))] {
        let report = over(name, 1).run(auto);
        let wait = report.queue_delay(secs(4)..secs(20), 0.5);
        assert!(wait < SHORT_WAIT.max(rtt / WAIT_PART), "{}: waits {wait:?}", report.run);
        let wait = report.queue_delay(secs(4)..secs(20), 0.95);
        assert!(wait < PROBE_WAIT.max(rtt.mul_f64(PROBE_PART)), "{}: waits {wait:?}", report.run);
    }
}

#[test]
fn no_link_is_so_small_that_each_round_trip_waits_for_the_receiver_s_timer() {
    let link = Conditions { queue: 100_000, ..Conditions::clean(2, ms(5)) };
    let report = Simulation::new("small", link, 1).run(auto);
    let batch = u64::from(QUIC.ack_threshold + 1) * MTU;
    let least = report.trace.iter().map(|sample| sample.measured.window).min();
    assert!(least > Some(batch), "{}: {least:?}", report.run);
}

#[test]
fn a_seed_replays_exactly() {
    let run = || -> Report { Simulation::new("twice", ACROSS_THE_SEA, 1).lasting(secs(6)).run(auto) };
    assert_eq!(run(), run());
}
