//! What is known of the path: its rate, its round trip, its loss, round by round.
//!
//! Estimates only; what to do about them is the phases' business.

use super::ledger::{Ledger, RoundLoss};
use super::max_filter::MaxFilter;
use super::round_trip::RoundTrip;
use super::sampler::Sample;
use std::time::{Duration, Instant};

/// Rounds whose samples are not believed after a silence: queues and late acknowledgements.
const DISTRUST: u32 = 3;

#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) rate: MaxFilter,
    pub(super) rtt: RoundTrip,
    pub(super) ledger: Ledger,
    /// Rounds so far: round trips, but on short paths.
    pub(super) round: u64,
    /// Best rate of this round that the application did not limit.
    best: f64,
    distrusted: u32,
    mtu: u64,
}

/// A round that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Best rate that the application did not limit, if there was one that can be believed.
    pub(super) best: Option<f64>,
    pub(super) rtt: Duration,
    pub(super) loss: RoundLoss,
}

impl Path {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            rate: MaxFilter::default(),
            rtt: RoundTrip::new(now),
            ledger: Ledger::new(now, mtu),
            round: 0,
            best: 0.0,
            distrusted: 0,
            mtu: u64::from(mtu),
        }
    }

    pub(super) fn mtu(&self) -> u64 {
        self.mtu
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.ledger.set_mtu(mtu);
    }

    /// Takes note of a sample.
    pub(super) fn observe(&mut self, now: Instant, sample: &Sample, draining: bool) {
        if sample.after_silence {
            self.distrust(DISTRUST);
            self.rtt.forgive_silence(now);
        }
        if let Some(rtt) = sample.rtt {
            self.rtt.observe(now, rtt, draining);
        }
        if let Some(rate) = sample.rate {
            // The path can do at least what it did, whoever set the pace.
            if !sample.limited || rate > self.rate.get() {
                self.rate.insert(self.round, rate);
            }
            if !sample.limited {
                self.best = self.best.max(rate);
            }
        }
    }

    /// Ends a round.
    pub(super) fn end_round(&mut self, now: Instant) -> Round {
        self.round += 1;
        self.rate.expire(self.round);
        let rtt = self.rtt.end_round();
        let loss = self.ledger.end_round();
        self.ledger.settle(now, rtt.min(self.rtt.min() * 4));
        let best = std::mem::take(&mut self.best);
        let trusted = self.distrusted == 0 && best > 0.0;
        self.distrusted = self.distrusted.saturating_sub(1);
        Round { best: trusted.then_some(best), rtt, loss }
    }

    /// The next rounds say nothing of the path.
    pub(super) fn distrust(&mut self, rounds: u32) {
        self.distrusted = self.distrusted.max(rounds);
    }

    /// Bytes that a path of this rate holds, with a little for acknowledgements that come late and for
    /// loss that varies: without it, the line runs dry each time that more is lost than usual.
    pub(super) fn holds(&self, rate: f64, round_trip: Duration) -> f64 {
        const MOST: Duration = Duration::from_millis(6);
        const LEAST: Duration = Duration::from_micros(1250);
        rate * (round_trip + (self.rtt.min() / 16).clamp(LEAST, MOST)).as_secs_f64()
    }

    /// The bandwidth-delay product, in bytes.
    pub(super) fn product(&self) -> f64 {
        self.holds(self.rate.get(), self.rtt.working())
    }
}
