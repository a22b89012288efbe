//! What Auto makes of each link that stays as it is.

use crate::ladder::{ACROSS_THE_SEA, over};
use crate::link::{Cause, Conditions};
use crate::report::{Report, Sample};
use crate::simulation::Simulation;
use crate::{SEEDS, Time, auto, ms, secs, us};
use docxy_protocol::limits::ACK_THRESHOLD;

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
fn on_a_slow_link_nothing_is_looked_for_for_long_and_the_queue_is_two_batches_of_acknowledgements_at_most() {
    for (mbit, rtt) in [(1, 20), (1, 40), (1, 100), (2, 5), (10, 5)] {
        let link = Conditions { queue: 300_000, ..Conditions::clean(mbit, ms(rtt)) };
        let name = format!("{mbit} Mbit/s, {rtt} ms");
        let report = Simulation::new(&name, link, 1).lasting(secs(60)).run(auto);
        let share = report.rate(secs(4)..secs(60)) / link.rate as f64;
        assert!(share >= 0.97, "{}: {share:.3}", report.run);
        let looking = |sample: &Sample| sample.measured.phase == "probe_rtt";
        let longest = report.trace.chunk_by(|one, next| looking(one) && looking(next)).map(<[_]>::len).max();
        assert!(longest <= Some(10), "{}: samples of one look: {longest:?}", report.run);
        let batch = link.packet_time() * (ACK_THRESHOLD + 1);
        let wait = report.queue_delay(secs(10)..secs(60), 0.5);
        assert!(wait <= batch * 2, "{}: waits {wait:?}, not {batch:?}", report.run);
    }
}

#[test]
fn a_short_link_s_small_queue_does_not_spill() {
    let link = Conditions { queue: 512_000, ..Conditions::clean(1000, us(300)) };
    let report = Simulation::new("switch", link, 1).run(auto);
    assert!(report.steady() > 0.98, "{}: {:.3}", report.run, report.steady());
    assert_eq!(report.drops(secs(4)..secs(20), &[Cause::Queue]), 0, "{}", report.run);
    let wait = report.queue_delay(secs(4)..secs(20), 0.5);
    assert!(wait < SHORT_WAIT, "{}: waits {wait:?}", report.run);
}

#[test]
fn a_seed_replays_exactly() {
    let run = || -> Report { Simulation::new("twice", ACROSS_THE_SEA, 1).lasting(secs(6)).run(auto) };
    assert_eq!(run(), run());
}
