//! What is known of the path: its rate, its round trip, its loss, round by round.
//!
//! Estimates only; what to do about them is the phases' business.

use super::loss_account::{LossAccount, RoundLoss};
use super::max_filter::MaxFilter;
use super::rate_sampler::RateSample;
use super::rtt_model::RttModel;
use std::time::{Duration, Instant};

/// Rounds whose samples are not believed after a silence: queues and late acknowledgements.
const UNTRUSTED_ROUNDS_AFTER_SILENCE: u32 = 3;

#[derive(Debug, Clone)]
pub(super) struct PathModel {
    pub(super) max_rate: MaxFilter,
    pub(super) rtt: RttModel,
    pub(super) loss_account: LossAccount,
    /// Rounds so far: round trips, but on short paths.
    pub(super) round_count: u64,
    /// Best rate of this round that the application did not limit.
    best_rate: f64,
    untrusted_rounds: u32,
    mtu: u64,
}

/// A round that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundSummary {
    /// Best rate that the application did not limit, if there was one that can be believed.
    pub(super) best_rate: Option<f64>,
    pub(super) rtt: Duration,
    pub(super) loss: RoundLoss,
}

impl PathModel {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            max_rate: MaxFilter::default(),
            rtt: RttModel::new(now),
            loss_account: LossAccount::new(now, mtu),
            round_count: 0,
            best_rate: 0.0,
            untrusted_rounds: 0,
            mtu: u64::from(mtu),
        }
    }

    pub(super) fn mtu(&self) -> u64 {
        self.mtu
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.loss_account.set_mtu(mtu);
    }

    /// Takes note of a sample.
    pub(super) fn on_sample(&mut self, now: Instant, sample: &RateSample, draining: bool) {
        if sample.after_silence {
            self.distrust_rounds(UNTRUSTED_ROUNDS_AFTER_SILENCE);
            self.rtt.extend_after_silence(now);
        }
        if let Some(rtt) = sample.rtt {
            self.rtt.observe(now, rtt, draining);
        }
        if let Some(rate) = sample.delivery_rate {
            // The path can do at least what it did, whoever set the pace.
            if !sample.app_limited || rate > self.max_rate.get() {
                self.max_rate.insert(self.round_count, rate);
            }
            if !sample.app_limited {
                self.best_rate = self.best_rate.max(rate);
            }
        }
    }

    /// Ends a round.
    pub(super) fn end_round(&mut self, now: Instant) -> RoundSummary {
        self.round_count += 1;
        self.max_rate.expire(self.round_count);
        let rtt = self.rtt.end_round();
        let loss = self.loss_account.end_round();
        self.loss_account.update_base_loss(now, rtt.min(self.rtt.min() * 4));
        let best_rate = std::mem::take(&mut self.best_rate);
        let trusted = self.untrusted_rounds == 0 && best_rate > 0.0;
        self.untrusted_rounds = self.untrusted_rounds.saturating_sub(1);
        RoundSummary { best_rate: trusted.then_some(best_rate), rtt, loss }
    }

    /// The next rounds say nothing of the path.
    pub(super) fn distrust_rounds(&mut self, rounds: u32) {
        self.untrusted_rounds = self.untrusted_rounds.max(rounds);
    }

    /// Bytes that a path of this rate holds, with a little for acknowledgements that come late and for
    /// loss that varies: without it, the line runs dry each time that more is lost than usual.
    pub(super) fn bdp_at(&self, rate: f64, rtt: Duration) -> f64 {
        const SLACK_MAX: Duration = Duration::from_millis(6);
        const SLACK_MIN: Duration = Duration::from_micros(1250);
        rate * (rtt + (self.rtt.min() / 16).clamp(SLACK_MIN, SLACK_MAX)).as_secs_f64()
    }

    /// The bandwidth-delay product, in bytes.
    pub(super) fn bdp(&self) -> f64 {
        self.bdp_at(self.max_rate.get(), self.rtt.target())
    }
}
