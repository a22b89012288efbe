//! Tests of the simulator itself, with the simplest sender: a constant window.

use crate::simulator::link::{Conditions, DropCause, Loss};
use crate::simulator::scenarios::{TRANSPACIFIC, scenario};
use crate::simulator::sender::Controller;
use crate::simulator::simulation::Simulation;
use crate::{Time, ms, secs};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::time::Instant;

/// Bytes in flight.
struct ConstantWindow(u64);

impl Controller for ConstantWindow {}

impl Algorithm for ConstantWindow {
    fn on_sent(&mut self, _now: Instant, _bytes: u64) {}
    fn on_ack(&mut self, _now: Instant, _sent: Instant, _bytes: u64) {}
    fn on_end_acks(&mut self, _now: Instant, _in_flight: u64, _app_limited: bool) {}
    fn on_loss(&mut self, _now: Instant, _sent: Instant, _bytes: u64, _persistent: bool) {}
    fn on_mtu_update(&mut self, _mtu: u16) {}
    fn window(&self) -> u64 {
        self.0
    }
    fn measured(&self) -> Measured {
        Measured { phase: "window", window: self.0, ..Measured::default() }
    }
}

#[test]
fn delivers_one_window_per_round_trip() {
    let report = scenario("transpacific", 1).run(|_| ConstantWindow(1_000_000));
    // A million bytes of UDP payload in 200 ms, and the time of up to 10 packets until an acknowledgement.
    let share = report.steady();
    assert!((0.38..0.41).contains(&share), "{}: {share}", report.label);
    assert!(report.queue_delay(secs(4)..secs(20), 1.0) < ms(5));
}

#[test]
fn excess_packets_queue_and_then_drop() {
    let half_full_queue = Simulation::new("1.5 × BDP", TRANSPACIFIC, 1).run(|_| ConstantWindow(3_680_000));
    assert!(half_full_queue.steady() > 0.99);
    let delay = half_full_queue.queue_delay(secs(4)..secs(20), 0.5);
    assert!((ms(90)..ms(110)).contains(&delay), "{delay:?}");
    assert_eq!(half_full_queue.drop_count(Time::ZERO..secs(20), &[DropCause::Queue]), 0);
    let full_queue = Simulation::new("2.5 × BDP", TRANSPACIFIC, 1).run(|_| ConstantWindow(6_000_000));
    assert!(full_queue.steady() > 0.98);
    assert!(full_queue.loss_rate(secs(4)..secs(20), &[DropCause::Queue]) > 0.05);
}

#[test]
fn lost_packets_are_retransmitted() {
    let link = TRANSPACIFIC.with_loss(Loss::Random(0.1));
    let report = Simulation::new("10 %", link, 7).run(|_| ConstantWindow(1_000_000));
    assert!((report.loss_rate(Time::ZERO..secs(20), &[DropCause::Random]) - 0.1).abs() < 0.01);
    assert!((0.32..0.38).contains(&report.steady()), "{}", report.steady());
    assert!(report.duplicates < 20, "{} delivered twice", report.duplicates);
}

#[test]
fn probes_during_an_outage() {
    let report = Simulation::new("outage", TRANSPACIFIC, 1)
        .outage(secs(5), secs(3))
        .run(|_| ConstantWindow(1_000_000));
    assert_eq!(report.rate(ms(5_010)..ms(8_090)), 0.0);
    assert!(report.time_to_recover(secs(8), ms(200), 38e6).is_some_and(|time| time < secs(4)));
}

#[test]
fn changed_conditions_take_effect() {
    let half = |link| Conditions { rate: 50_000_000, ..link };
    let report = Simulation::new("halved", TRANSPACIFIC, 1)
        .change_at(secs(8), half)
        .run(|_| ConstantWindow(2_600_000));
    assert!(report.utilization(secs(4)..secs(8)) > 0.98);
    assert!((report.utilization(secs(9)..secs(20)) - 0.5).abs() < 0.01);
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let run = |seed| scenario("flaky-wifi", seed).run(|_| ConstantWindow(300_000));
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).steady(), run(4).steady());
}
