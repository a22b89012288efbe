//! How Auto shares a bottleneck: with TCP BBR, with a flow that follows RFC 9438, with its own kind.

use crate::bbr::Bbr;
use crate::link::{Cause, Conditions};
use crate::report::Report;
use crate::sender::{Control, Manner, TCP};
use crate::simulation::Simulation;
use crate::source::Supply;
use crate::{MTU, Time, auto, ms, secs};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::ops::Range;
use std::time::{Duration, Instant};

const CONTINENTAL: Conditions = Conditions::clean(100, ms(50));

/// The first comes so much earlier.
const AHEAD: Time = secs(5);

/// What the bench reads: from 4 s to 20 s after the second came. And what comes of it in the end.
pub(crate) const EARLY: Range<Time> = secs(9)..secs(25);
pub(crate) const LATE: Range<Time> = secs(25)..secs(65);

/// Whom Auto meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rival {
    Bbr,
    /// As measured on real links: one that believes in more than its part.
    BoldBbr,
    Cubic,
    /// Another of its kind.
    Auto,
}

/// Who comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    RivalFirst,
    OursFirst,
}

impl Rival {
    pub(crate) const ALL: [Self; 4] = [Self::Bbr, Self::BoldBbr, Self::Cubic, Self::Auto];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bbr => "bbr",
            Self::BoldBbr => "bold-bbr",
            Self::Cubic => "cubic",
            Self::Auto => "auto",
        }
    }

    fn control(self, now: Instant) -> Box<dyn Control> {
        match self {
            Self::Bbr => Box::new(Bbr::new(now)),
            Self::BoldBbr => Box::new(Bbr::bold(now)),
            Self::Cubic => Box::new(Cubic::new(now)),
            Self::Auto => Box::new(auto(now)),
        }
    }

    /// Both on a clean link: ours is flow 0, the rival 1. The seed shifts the second's start, since
    /// without jitter nothing else is left to chance.
    pub(crate) fn beside_auto(self, order: Order, jitter: Time, seed: u64) -> Report {
        const SHIFT: Time = ms(37);
        let second = AHEAD + SHIFT * seed as u32;
        let (ours, theirs) = match order {
            Order::RivalFirst => (second, Time::ZERO),
            Order::OursFirst => (Time::ZERO, second),
        };
        let name = format!("beside {}, {} first", self.name(), order.name());
        let simulation = Simulation::new(&name, Conditions { jitter, ..CONTINENTAL }, seed)
            .plan(&[(ours, Supply::Endless)])
            .lasting(LATE.end);
        let epoch = Instant::now();
        simulation.run_beside(epoch, Box::new(auto(epoch)), vec![(theirs, self.control(epoch))])
    }
}

impl Order {
    pub(crate) const ALL: [Self; 2] = [Self::RivalFirst, Self::OursFirst];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RivalFirst => "rival",
            Self::OursFirst => "ours",
        }
    }
}

/// In the long run, of the link: what is left to the rival, and what Auto gets, as medians of the seeds. Two
/// that measure each other never settle quite, so a seed may have a little less.
const LEFT_TO_CUBIC: f64 = 0.30;
const FAIR: f64 = 0.45;
const A_LITTLE: f64 = 0.05;

#[test]
fn neither_starves_the_other() {
    let mut failed = Vec::new();
    let rivals = [(Rival::Bbr, FAIR), (Rival::BoldBbr, FAIR), (Rival::Cubic, LEFT_TO_CUBIC)];
    for (rival, least_left) in rivals {
        for order in Order::ALL {
            let reports: Vec<Report> =
                (1..=5).map(|seed| rival.beside_auto(order, Time::ZERO, seed)).collect();
            for (whose, flow, least) in [("left", 1, least_left), ("taken", 0, FAIR)] {
                let mut shares: Vec<f64> = reports.iter().map(|report| report.share_of(flow, LATE)).collect();
                shares.sort_by(f64::total_cmp);
                if shares[2] < least || shares[0] < least - A_LITTLE {
                    failed.push(format!("{}: {whose} {shares:.3?}, asked {least}", reports[0].run));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn cubic_fills_a_link_that_it_has_to_itself_and_its_queue() {
    let report = Simulation::new("cubic alone", CONTINENTAL, 1).run(Cubic::new);
    assert!(report.steady() > 0.95, "{}: {:.3}", report.run, report.steady());
    assert!(report.drops(Time::ZERO..secs(20), &[Cause::Queue]) > 0, "{}", report.run);
}

#[test]
fn bbr_fills_a_link_that_it_has_to_itself_and_leaves_its_queue_empty() {
    let report = Simulation::new("bbr alone", CONTINENTAL, 1).run(Bbr::new);
    assert!(report.steady() > 0.95, "{}: {:.3}", report.run, report.steady());
    let wait = report.queue_delay(secs(4)..secs(20), 0.5);
    assert!(wait < ms(5), "{}: waits {wait:?}", report.run);
}

impl Control for Cubic {
    fn manner(&self) -> Manner {
        TCP
    }
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

    fn on_end_acks(&mut self, _now: Instant, _in_flight: u64, _app_limited: bool) {}

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

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        (self.window * MTU as f64) as u64
    }

    fn measured(&self) -> Measured {
        Measured { phase: "cubic", window: self.window(), ..Measured::default() }
    }
}
