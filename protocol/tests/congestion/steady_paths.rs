//! How Auto uses links that do not change.

use crate::simulator::link::{Conditions, DropCause};
use crate::simulator::report::{Report, TracePoint};
use crate::simulator::scenarios::{TRANSPACIFIC, scenario};
use crate::simulator::simulation::Simulation;
use crate::{Time, auto, ms, secs, seeds, us};
use docxy_protocol::limits::ACK_THRESHOLD;

/// Minimum utilization by scenario: in the first 12 s, handshake included, and after 4 s.
const UTILIZATION_MIN: [(&str, f64, f64); 12] = [
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

/// From the first byte of bulk until the link is full, without loss: a little more than three doublings.
const FILL_TIME_MAX: Time = ms(1500);

/// Limits of the queue delay on a clean link. The median is below this part of the RTT or below
/// [`MEDIAN_DELAY_MAX`]. Up adds a quarter of the RTT in one round of ten, and the 95th percentile is little
/// above that.
const MEDIAN_DELAY_RTT_DIVISOR: u32 = 16;
const MEDIAN_DELAY_MAX: Time = ms(5);
const P95_DELAY_RTT_SHARE: f64 = 0.32;
const P95_DELAY_MAX: Time = ms(10);

#[test]
fn every_scenario_reaches_its_utilization() {
    let mut failed = Vec::new();
    for (name, cold, steady) in UTILIZATION_MIN {
        for seed in seeds() {
            let report = scenario(name, seed).run(auto);
            if report.cold() < cold || report.steady() < steady {
                failed.push(format!(
                    "{}: {:.3} cold (not {cold}), {:.3} steady (not {steady})",
                    report.label,
                    report.cold(),
                    report.steady()
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn startup_fills_the_link_without_queue_drops() {
    let report = scenario("transpacific", 1).run(auto);
    let fill_time = report.time_to_fill();
    assert!(
        fill_time.is_some_and(|time| time <= FILL_TIME_MAX),
        "{}: filled after {fill_time:?}",
        report.label
    );
    assert_eq!(report.drop_count(Time::ZERO..secs(20), &[DropCause::Queue]), 0, "{}", report.label);
}

#[test]
fn queue_delay_stays_short() {
    for (name, rtt) in [("transpacific", ms(200)), ("clean-metro", ms(10)), ("fat-metro", ms(10))] {
        let report = scenario(name, 1).run(auto);
        let delay = report.queue_delay(secs(4)..secs(20), 0.5);
        assert!(
            delay < MEDIAN_DELAY_MAX.max(rtt / MEDIAN_DELAY_RTT_DIVISOR),
            "{}: queue delay {delay:?}",
            report.label
        );
        let delay = report.queue_delay(secs(4)..secs(20), 0.95);
        assert!(
            delay < P95_DELAY_MAX.max(rtt.mul_f64(P95_DELAY_RTT_SHARE)),
            "{}: queue delay {delay:?}",
            report.label
        );
    }
}

#[test]
fn a_slow_link_has_short_probe_rtt_and_a_short_queue() {
    for (mbit, rtt) in [(1, 20), (1, 40), (1, 100), (2, 5), (10, 5)] {
        let link = Conditions { queue_limit: 300_000, ..Conditions::clean(mbit, ms(rtt)) };
        let name = format!("{mbit} Mbit/s, {rtt} ms");
        let report = Simulation::new(&name, link, 1).duration(secs(60)).run(auto);
        let utilization = report.rate(secs(4)..secs(60)) / link.rate as f64;
        assert!(utilization >= 0.97, "{}: {utilization:.3}", report.label);
        let in_probe_rtt = |point: &TracePoint| point.measured.phase == "probe_rtt";
        let longest =
            report.trace.chunk_by(|one, next| in_probe_rtt(one) && in_probe_rtt(next)).map(<[_]>::len).max();
        assert!(longest <= Some(10), "{}: trace points in one ProbeRtt: {longest:?}", report.label);
        let batch = link.transmission_time() * (ACK_THRESHOLD + 1);
        let delay = report.queue_delay(secs(10)..secs(60), 0.5);
        assert!(delay <= batch * 2, "{}: queue delay {delay:?}, not {batch:?}", report.label);
    }
}

#[test]
fn a_small_queue_on_a_short_path_does_not_overflow() {
    let link = Conditions { queue_limit: 512_000, ..Conditions::clean(1000, us(300)) };
    let report = Simulation::new("switch", link, 1).run(auto);
    assert!(report.steady() > 0.98, "{}: {:.3}", report.label, report.steady());
    assert_eq!(report.drop_count(secs(4)..secs(20), &[DropCause::Queue]), 0, "{}", report.label);
    let delay = report.queue_delay(secs(4)..secs(20), 0.5);
    assert!(delay < MEDIAN_DELAY_MAX, "{}: queue delay {delay:?}", report.label);
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let run = || -> Report { Simulation::new("twice", TRANSPACIFIC, 1).duration(secs(6)).run(auto) };
    assert_eq!(run(), run());
}
