//! How Auto behaves when the application sends little or nothing, and with an earlier connection's
//! measurement.

use crate::simulator::link::{Conditions, DropCause};
use crate::simulator::report::Report;
use crate::simulator::scenarios::TRANSPACIFIC;
use crate::simulator::simulation::Simulation;
use crate::simulator::traffic_source::Supply::{Idle, RateLimited, Unlimited};
use crate::{Time, auto, ms, secs, seeds};
use docxy_protocol::congestion::{PathMemory, Rate};

const RTT: Time = ms(200);
/// Bits per second: a twentieth of the link.
const LOW_RATE: u64 = 5_000_000;
/// Bits per second: one packet every few seconds.
const PING_RATE: u64 = 5000;

/// From the first byte after an idle period until the link is full again.
const REFILL_TIME_MAX: Time = ms(2500);
/// Packets that may be dropped when bulk begins on a link that little traffic has measured.
const QUEUE_DROPS_MAX: usize = 64;
/// Utilization once the link is full again: ProbeRtt has nothing left to measure, since the first packets
/// did.
const REFILLED_UTILIZATION_MIN: f64 = 0.93;
/// Maximum rate estimate ÷ link rate.
const RATE_ESTIMATE_MAX: f64 = 1.15;

/// From the first byte until the link is full, with a correct memory.
const RECALLED_FILL_TIME_MAX: Time = ms(1000);
/// Maximum utilization in the first round trip of a start at half the rate, which quinn paces a quarter
/// faster.
const HALF_RATE_START_MAX: f64 = 0.75;
/// Cold utilization and loss rate with a memory that is four times too high.
const WRONG_MEMORY_COLD_MIN: f64 = 0.75;
const WRONG_MEMORY_LOSS_MAX: f64 = 0.10;

fn assert_refills(report: &Report, from: Time) {
    let refill_time = report.time_to_recover(from, RTT, 100e6);
    assert!(refill_time.is_some_and(|time| time <= REFILL_TIME_MAX), "{}: {refill_time:?}", report.label);
    let dropped = report.drop_count(from..secs(100), &[DropCause::Queue]);
    assert!(dropped <= QUEUE_DROPS_MAX, "{}: drops {dropped}", report.label);
    for point in &report.trace {
        let rate = point.measured.rate.map_or(0.0, |rate| rate.bits_per_second() as f64);
        assert!(
            rate < RATE_ESTIMATE_MAX * 100e6,
            "{}: estimates {rate} bit/s at {:?}",
            report.label,
            point.at
        );
    }
}

#[test]
fn low_traffic_does_not_lower_the_rate_estimate() {
    for seed in seeds() {
        let simulation = Simulation::new("low rate, then bulk", TRANSPACIFIC, seed);
        let schedule = [(Time::ZERO, RateLimited(LOW_RATE)), (secs(10), Unlimited)];
        assert_refills(&simulation.traffic(&schedule).run(auto), secs(10));
        let simulation = Simulation::new("bulk, low rate, bulk", TRANSPACIFIC, seed);
        let schedule = [(Time::ZERO, Unlimited), (secs(6), RateLimited(LOW_RATE)), (secs(20), Unlimited)];
        assert_refills(&simulation.traffic(&schedule).duration(secs(30)).run(auto), secs(20));
    }
}

#[test]
fn refills_after_an_idle_minute() {
    let simulation = Simulation::new("bulk, an idle minute, bulk", TRANSPACIFIC, 1).duration(secs(76));
    let schedule = [(Time::ZERO, Unlimited), (secs(8), Idle), (secs(68), Unlimited)];
    assert_refills(&simulation.traffic(&schedule).run(auto), secs(68));
}

#[test]
fn refills_after_a_minute_of_pings() {
    // With jitter, a ping rarely meets min_rtt.
    let link = Conditions { jitter: ms(4), ..TRANSPACIFIC };
    let simulation = Simulation::new("bulk, a minute of pings, bulk", link, 1).duration(secs(76));
    let schedule = [(Time::ZERO, Unlimited), (secs(8), RateLimited(PING_RATE)), (secs(68), Unlimited)];
    let report = simulation.traffic(&schedule).run(auto);
    assert_refills(&report, secs(68));
    let utilization = report.rate(secs(69)..secs(70)) / 100e6;
    assert!(
        utilization >= REFILLED_UTILIZATION_MIN,
        "{}: {utilization:.3} of the link one second after the pause",
        report.label
    );
}

fn run_with_memory(name: &str, mbit: u64, min_rtt: Time, seed: u64) -> Report {
    with_memory(Simulation::new(name, TRANSPACIFIC, seed), mbit, min_rtt)
}

fn with_memory(simulation: Simulation, mbit: u64, min_rtt: Time) -> Report {
    let rate = Rate::from_bits_per_second(mbit * 1_000_000).expect("within bounds");
    simulation.run(|now| {
        let mut auto = auto(now);
        auto.recall(PathMemory { rate, min_rtt });
        auto
    })
}

#[test]
fn a_recalled_rate_stays_unproven_after_idle() {
    // The first round trip of bulk, at the receiver.
    let first_rtt = secs(20) + RTT..secs(20) + RTT * 2;
    let simulation = Simulation::new("recalled, pings, bulk", TRANSPACIFIC, 1).duration(secs(30));
    let schedule = [(Time::ZERO, RateLimited(PING_RATE)), (secs(20), Unlimited)];
    let recalled = with_memory(simulation.traffic(&schedule), 100, RTT);
    let utilization = recalled.rate(first_rtt.clone()) / 100e6;
    assert!(
        utilization > 0.3 && utilization < HALF_RATE_START_MAX,
        "{}: {utilization:.2} of the link",
        recalled.label
    );
    // The same after a transfer that ended before it confirmed the rate.
    let simulation = Simulation::new("recalled, short bulk, bulk", TRANSPACIFIC, 1).duration(secs(30));
    let schedule = [(Time::ZERO, Unlimited), (ms(700), Idle), (secs(20), Unlimited)];
    let cut_short = with_memory(simulation.traffic(&schedule), 100, RTT);
    let utilization = cut_short.rate(first_rtt.clone()) / 100e6;
    assert!(utilization < HALF_RATE_START_MAX, "{}: {utilization:.2} of the link", cut_short.label);
    // After minutes, the connection's own measurement counts no more than a recalled one.
    let simulation = Simulation::new("bulk, idle for minutes, bulk", TRANSPACIFIC, 1).duration(secs(410));
    let schedule = [(Time::ZERO, Unlimited), (secs(6), Idle), (secs(400), Unlimited)];
    let stale = simulation.traffic(&schedule).run(auto);
    let utilization = stale.rate(secs(400) + RTT..secs(400) + RTT * 2) / 100e6;
    assert!(utilization < HALF_RATE_START_MAX, "{}: {utilization:.2} of the link", stale.label);
    let simulation = Simulation::new("bulk, idle, bulk", TRANSPACIFIC, 1).duration(secs(30));
    let schedule = [(Time::ZERO, Unlimited), (secs(6), Idle), (secs(20), Unlimited)];
    let known = simulation.traffic(&schedule).run(auto);
    let utilization = known.rate(first_rtt) / 100e6;
    assert!(utilization > HALF_RATE_START_MAX, "{}: {utilization:.2} of the link", known.label);
    // The second round trip uses the whole link, since the first confirmed the rate.
    let second_rtt = known.rate(secs(20) + RTT * 2..secs(20) + RTT * 3) / 100e6;
    assert!(second_rtt > REFILLED_UTILIZATION_MIN, "{}: {second_rtt:.2} of the link", known.label);
}

#[test]
fn a_recalled_path_fills_at_once() {
    let report = run_with_memory("recalled", 100, RTT, 1);
    let fill_time = report.time_to_fill();
    assert!(fill_time.is_some_and(|time| time <= RECALLED_FILL_TIME_MAX), "{}: {fill_time:?}", report.label);
    assert_eq!(report.drop_count(Time::ZERO..secs(20), &[DropCause::Queue]), 0, "{}", report.label);
}

#[test]
fn a_memory_that_is_too_high_costs_little() {
    let report = run_with_memory("recalled, four times too high", 400, RTT, 1);
    assert!(report.cold() >= WRONG_MEMORY_COLD_MIN, "{}: {:.3}", report.label, report.cold());
    let loss = report.loss_rate(Time::ZERO..secs(12), &[DropCause::Queue]);
    assert!(loss <= WRONG_MEMORY_LOSS_MAX, "{}: loses {loss:.3}", report.label);
}

#[test]
fn ignores_the_memory_of_another_path() {
    let (misled, plain) = (
        run_with_memory("recalled", 1000, ms(20), 1),
        Simulation::new("recalled", TRANSPACIFIC, 1).run(auto),
    );
    assert_eq!(misled.rate(Time::ZERO..secs(20)), plain.rate(Time::ZERO..secs(20)), "{}", misled.label);
}
