//! The model itself, tested with the simplest sender that there is: one window, come what may.

use crate::ladder::{ACROSS_THE_SEA, over};
use crate::link::{Cause, Conditions, Loss};
use crate::sender::Control;
use crate::simulation::Simulation;
use crate::{Time, ms, secs};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::time::Instant;

/// So many bytes in flight.
struct Window(u64);

impl Control for Window {}

impl Algorithm for Window {
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
fn a_window_is_delivered_once_a_round_trip() {
    let report = over("transpacific", 1).run(|_| Window(1_000_000));
    // A million bytes of UDP payload in 200 ms, and up to 10 packets' time until they are acknowledged.
    let share = report.steady();
    assert!((0.38..0.41).contains(&share), "{}: {share}", report.run);
    assert!(report.queue_delay(secs(4)..secs(20), 1.0) < ms(5));
}

#[test]
fn what_the_link_cannot_hold_waits_and_then_is_dropped() {
    let half_a_queue = Simulation::new("1.5 × BDP", ACROSS_THE_SEA, 1).run(|_| Window(3_680_000));
    assert!(half_a_queue.steady() > 0.99);
    let wait = half_a_queue.queue_delay(secs(4)..secs(20), 0.5);
    assert!((ms(90)..ms(110)).contains(&wait), "{wait:?}");
    assert_eq!(half_a_queue.drops(Time::ZERO..secs(20), &[Cause::Queue]), 0);
    let too_much = Simulation::new("2.5 × BDP", ACROSS_THE_SEA, 1).run(|_| Window(6_000_000));
    assert!(too_much.steady() > 0.98);
    assert!(too_much.lost(secs(4)..secs(20), &[Cause::Queue]) > 0.05);
}

#[test]
fn what_is_lost_is_sent_again() {
    let link = ACROSS_THE_SEA.losing(Loss::Random(0.1));
    let report = Simulation::new("10 %", link, 7).run(|_| Window(1_000_000));
    assert!((report.lost(Time::ZERO..secs(20), &[Cause::Random]) - 0.1).abs() < 0.01);
    assert!((0.32..0.38).contains(&report.steady()), "{}", report.steady());
    assert!(report.repeated < 20, "{} delivered twice", report.repeated);
}

#[test]
fn an_outage_is_probed_until_it_ends() {
    let report =
        Simulation::new("outage", ACROSS_THE_SEA, 1).outage(secs(5), secs(3)).run(|_| Window(1_000_000));
    assert_eq!(report.rate(ms(5_010)..ms(8_090)), 0.0);
    assert!(report.recovered(secs(8), ms(200), 38e6).is_some_and(|time| time < secs(4)));
}

#[test]
fn a_changed_link_is_another_link() {
    let half = |link| Conditions { rate: 50_000_000, ..link };
    let report = Simulation::new("halved", ACROSS_THE_SEA, 1).at(secs(8), half).run(|_| Window(2_600_000));
    assert!(report.share(secs(4)..secs(8)) > 0.98);
    assert!((report.share(secs(9)..secs(20)) - 0.5).abs() < 0.01);
}

#[test]
fn a_seed_replays_exactly() {
    let run = |seed| over("flaky-wifi", seed).run(|_| Window(300_000));
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).steady(), run(4).steady());
}
