//! How Auto shares a bottleneck with a flow that follows RFC 9438.

use crate::link::{Cause, Conditions};
use crate::simulation::Simulation;
use crate::{MTU, Time, auto, ms, secs};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::time::{Duration, Instant};

const CONTINENTAL: Conditions = Conditions::clean(100, ms(50));

/// What is left to Cubic, of 1, and what Auto gets at least, whichever came first.
const LEFT: f64 = 0.10;
const TAKEN: f64 = 0.20;

#[test]
fn neither_starves_the_other() {
    for (name, ours, theirs) in
        [("cubic was first", secs(5), Time::ZERO), ("ours was first", Time::ZERO, secs(5))]
    {
        let plan = [(ours, crate::source::Supply::Endless)];
        let simulation = Simulation::new(name, CONTINENTAL, 1).plan(&plan).lasting(secs(40));
        let epoch = Instant::now();
        let others = vec![(theirs, Box::new(Cubic::new(epoch)) as Box<dyn Algorithm>)];
        let report = simulation.run_beside(epoch, Box::new(auto(epoch)), others);
        let (ours, left) = (report.share(secs(10)..secs(40)), report.rate_of(1, secs(10)..secs(40)) / 100e6);
        println!("{name}: {ours:.2} of the link, {left:.2} to cubic");
        assert!(left >= LEFT, "{}: {left:.3} left", report.run);
        assert!(ours >= TAKEN, "{}: {ours:.3} taken", report.run);
    }
}

#[test]
fn the_rival_fills_a_link_that_it_has_to_itself() {
    let report = Simulation::new("cubic alone", CONTINENTAL, 1).run(Cubic::new);
    assert!(report.steady() > 0.95, "{}: {:.3}", report.run, report.steady());
    assert!(report.drops(Time::ZERO..secs(20), &[Cause::Queue]) > 0, "{}", report.run);
}

/// In packets.
struct Cubic {
    window: f64,
    threshold: f64,
    before_loss: f64,
    epoch: Instant,
    rtt: Duration,
    /// What a Reno flow would have by now.
    reno: f64,
}

const C: f64 = 0.4;
const BETA: f64 = 0.7;

impl Cubic {
    fn new(now: Instant) -> Self {
        let rtt = Duration::from_millis(100);
        Self { window: 10.0, threshold: f64::INFINITY, before_loss: 0.0, epoch: now, rtt, reno: 0.0 }
    }
}

impl Algorithm for Cubic {
    fn on_sent(&mut self, _now: Instant, _bytes: u64) {}

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.rtt = now - sent;
        let acked = bytes as f64 / MTU as f64;
        if self.window < self.threshold {
            self.window += acked;
            return;
        }
        let k = (self.before_loss * (1.0 - BETA) / C).cbrt();
        let since = (now - self.epoch + self.rtt).as_secs_f64();
        let target = (C * (since - k).powi(3) + self.before_loss).clamp(self.window, 1.5 * self.window);
        self.window += acked * (target - self.window) / self.window;
        self.reno += acked * 3.0 * (1.0 - BETA) / (1.0 + BETA) / self.reno.max(self.window);
        self.window = self.window.max(self.reno);
    }

    fn on_acks_end(&mut self, _now: Instant, _in_flight: u64, _app_limited: bool) {}

    fn on_loss(&mut self, now: Instant, sent: Instant, _bytes: u64, _persistent: bool) {
        if sent <= self.epoch {
            return;
        }
        self.before_loss = self.window;
        self.window = (self.window * BETA).max(2.0);
        self.reno = self.window;
        self.threshold = self.window;
        self.epoch = now;
    }

    fn on_mtu(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        (self.window * MTU as f64) as u64
    }

    fn measured(&self) -> Measured {
        Measured { phase: "cubic", window: self.window(), ..Measured::default() }
    }
}
