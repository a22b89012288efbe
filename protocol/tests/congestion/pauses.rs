//! What Auto makes of having little or nothing to send, and of what an earlier connection knew.

use crate::ladder::ACROSS_THE_SEA;
use crate::link::{Cause, Conditions};
use crate::report::Report;
use crate::simulation::Simulation;
use crate::source::Supply::{Endless, Limited, Nothing};
use crate::{SEEDS, Time, auto, ms, secs};
use docxy_protocol::congestion::{PathMemory, Rate};

const RTT: Time = ms(200);
const LITTLE: u64 = 5_000_000;
/// A packet every few seconds.
const PINGS: u64 = 5000;

/// From the first byte after a pause until the link is full again.
const FULL_AGAIN: Time = ms(2500);
/// Packets that may be dropped when bulk begins again on a link that was measured with little.
const SPILT: usize = 64;
/// Share of the link once it is full again: nothing has to be looked for that the start has shown.
const UNBROKEN: f64 = 0.93;
/// No estimate is above the link by more than this.
const INFLATION: f64 = 1.15;

/// With a memory that is right.
const RECALLED_WITHIN: Time = ms(1000);
/// A start from it is at half of it, paced by quinn a quarter faster.
const HALF_AT_FIRST: f64 = 0.75;
/// With one that is four times too high.
const MISLED_COLD: f64 = 0.75;
const MISLED_LOSS: f64 = 0.10;

fn full_again(report: &Report, from: Time) {
    let full = report.recovered(from, RTT, 100e6);
    assert!(full.is_some_and(|time| time <= FULL_AGAIN), "{}: {full:?}", report.run);
    let dropped = report.drops(from..secs(100), &[Cause::Queue]);
    assert!(dropped <= SPILT, "{}: drops {dropped}", report.run);
    for sample in &report.trace {
        let rate = sample.measured.rate.map_or(0.0, |rate| rate.bits_per_second() as f64);
        assert!(rate < INFLATION * 100e6, "{}: believes {rate} at {:?}", report.run, sample.at);
    }
}

#[test]
fn little_to_send_says_nothing_about_the_link() {
    for seed in SEEDS {
        let simulation = Simulation::new("little, then bulk", ACROSS_THE_SEA, seed);
        let plan = [(Time::ZERO, Limited(LITTLE)), (secs(10), Endless)];
        full_again(&simulation.plan(&plan).run(auto), secs(10));
        let simulation = Simulation::new("bulk, little, bulk", ACROSS_THE_SEA, seed);
        let plan = [(Time::ZERO, Endless), (secs(6), Limited(LITTLE)), (secs(20), Endless)];
        full_again(&simulation.plan(&plan).lasting(secs(30)).run(auto), secs(20));
    }
}

#[test]
fn a_minute_of_silence_is_not_forgetting() {
    let simulation = Simulation::new("bulk, a minute, bulk", ACROSS_THE_SEA, 1).lasting(secs(76));
    let plan = [(Time::ZERO, Endless), (secs(8), Nothing), (secs(68), Endless)];
    full_again(&simulation.plan(&plan).run(auto), secs(68));
}

#[test]
fn a_minute_of_pings_is_not_forgetting_either() {
    // What varies: a ping seldom meets the very minimum.
    let link = Conditions { jitter: ms(4), ..ACROSS_THE_SEA };
    let simulation = Simulation::new("bulk, a minute of pings, bulk", link, 1).lasting(secs(76));
    let plan = [(Time::ZERO, Endless), (secs(8), Limited(PINGS)), (secs(68), Endless)];
    let report = simulation.plan(&plan).run(auto);
    full_again(&report, secs(68));
    let then = report.rate(secs(69)..secs(70)) / 100e6;
    assert!(then >= UNBROKEN, "{}: {then:.3} of the link in the second second", report.run);
}

fn recalling(name: &str, mbit: u64, min_rtt: Time, seed: u64) -> Report {
    recalling_in(Simulation::new(name, ACROSS_THE_SEA, seed), mbit, min_rtt)
}

fn recalling_in(simulation: Simulation, mbit: u64, min_rtt: Time) -> Report {
    let rate = Rate::from_bits_per_second(mbit * 1_000_000).expect("within bounds");
    simulation.run(|now| {
        let mut auto = auto(now);
        auto.recall(PathMemory { rate, min_rtt });
        auto
    })
}

#[test]
fn what_another_connection_found_is_no_better_known_after_a_pause() {
    // The first round trip of the bulk, as it arrives.
    let first = secs(20) + RTT..secs(20) + RTT * 2;
    let simulation = Simulation::new("recalled, pings, bulk", ACROSS_THE_SEA, 1).lasting(secs(30));
    let plan = [(Time::ZERO, Limited(PINGS)), (secs(20), Endless)];
    let recalled = recalling_in(simulation.plan(&plan), 100, RTT);
    let part = recalled.rate(first.clone()) / 100e6;
    assert!(part > 0.3 && part < HALF_AT_FIRST, "{}: {part:.2} of the link", recalled.run);
    // Nor where a pull came before that, and ended before it proved anything.
    let simulation = Simulation::new("recalled, a little, bulk", ACROSS_THE_SEA, 1).lasting(secs(30));
    let plan = [(Time::ZERO, Endless), (ms(700), Nothing), (secs(20), Endless)];
    let cut_short = recalling_in(simulation.plan(&plan), 100, RTT);
    let part = cut_short.rate(first.clone()) / 100e6;
    assert!(part < HALF_AT_FIRST, "{}: {part:.2} of the link", cut_short.run);
    // Minutes later its own findings are no better.
    let simulation = Simulation::new("bulk, long ago", ACROSS_THE_SEA, 1).lasting(secs(410));
    let plan = [(Time::ZERO, Endless), (secs(6), Nothing), (secs(400), Endless)];
    let stale = simulation.plan(&plan).run(auto);
    let part = stale.rate(secs(400) + RTT..secs(400) + RTT * 2) / 100e6;
    assert!(part < HALF_AT_FIRST, "{}: {part:.2} of the link", stale.run);
    let simulation = Simulation::new("bulk, a pause, bulk", ACROSS_THE_SEA, 1).lasting(secs(30));
    let plan = [(Time::ZERO, Endless), (secs(6), Nothing), (secs(20), Endless)];
    let known = simulation.plan(&plan).run(auto);
    let part = known.rate(first) / 100e6;
    assert!(part > HALF_AT_FIRST, "{}: {part:.2} of the link", known.run);
    // And all of the link in the second round trip: its first proves it.
    let second = known.rate(secs(20) + RTT * 2..secs(20) + RTT * 3) / 100e6;
    assert!(second > UNBROKEN, "{}: {second:.2} of the link", known.run);
}

#[test]
fn a_path_that_is_known_is_filled_at_once() {
    let report = recalling("recalled", 100, RTT, 1);
    let filled = report.filled();
    assert!(filled.is_some_and(|time| time <= RECALLED_WITHIN), "{}: {filled:?}", report.run);
    assert_eq!(report.drops(Time::ZERO..secs(20), &[Cause::Queue]), 0, "{}", report.run);
}

#[test]
fn a_memory_that_is_too_high_does_little_harm() {
    let report = recalling("recalled, four times too high", 400, RTT, 1);
    assert!(report.cold() >= MISLED_COLD, "{}: {:.3}", report.run, report.cold());
    let lost = report.lost(Time::ZERO..secs(12), &[Cause::Queue]);
    assert!(lost <= MISLED_LOSS, "{}: loses {lost:.3}", report.run);
}

#[test]
fn a_memory_of_another_path_is_ignored() {
    let (misled, plain) =
        (recalling("recalled", 1000, ms(20), 1), Simulation::new("recalled", ACROSS_THE_SEA, 1).run(auto));
    assert_eq!(misled.rate(Time::ZERO..secs(20)), plain.rate(Time::ZERO..secs(20)), "{}", misled.run);
}
