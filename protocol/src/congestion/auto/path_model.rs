//! Model of the path: its rate, RTT and loss, updated in each round.
//!
//! Must never decide what to send; the states do that.

use super::loss_account::{LossAccount, RoundLoss};
use super::max_filter::MaxFilter;
use super::rate_sampler::RateSample;
use super::rtt_model::RttModel;
use std::time::{Duration, Instant};

/// Rounds whose rate does not count after a silence: queues and late acknowledgements distort it.
const UNTRUSTED_ROUNDS_AFTER_SILENCE: u32 = 3;

#[derive(Debug, Clone)]
pub(super) struct PathModel {
    pub(super) max_rate: MaxFilter,
    pub(super) rtt: RttModel,
    pub(super) loss_account: LossAccount,
    /// Rounds so far. A round is a round trip, but longer on short paths.
    pub(super) round_count: u64,
    /// Best delivery rate of this round that was not app-limited.
    best_rate: f64,
    untrusted_rounds: u32,
    mtu: u64,
}

/// A round that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundSummary {
    /// Best delivery rate that was not app-limited, if the round is trusted.
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

    /// Updates the model from a rate sample.
    pub(super) fn on_sample(&mut self, now: Instant, sample: &RateSample, draining: bool) {
        if sample.after_silence {
            self.distrust_rounds(UNTRUSTED_ROUNDS_AFTER_SILENCE);
            self.rtt.extend_after_silence(now);
        }
        if let Some(rtt) = sample.rtt {
            self.rtt.observe(now, rtt, draining);
        }
        if let Some(rate) = sample.delivery_rate {
            // An app-limited sample is a lower bound of what the path can deliver.
            if !sample.app_limited || rate > self.max_rate.get() {
                self.max_rate.insert(self.round_count, rate);
            }
            if !sample.app_limited {
                self.best_rate = self.best_rate.max(rate);
            }
        }
    }

    /// Ends the current round.
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

    /// The rates of the next `rounds` rounds do not count.
    pub(super) fn distrust_rounds(&mut self, rounds: u32) {
        self.untrusted_rounds = self.untrusted_rounds.max(rounds);
    }

    /// BDP of this rate and RTT in bytes, with a small addition for late acknowledgements and varying loss.
    /// Without it, the link idles whenever more packets than usual are lost.
    pub(super) fn bdp_at(&self, rate: f64, rtt: Duration) -> f64 {
        const SLACK_MAX: Duration = Duration::from_millis(6);
        const SLACK_MIN: Duration = Duration::from_micros(1250);
        rate * (rtt + (self.rtt.min() / 16).clamp(SLACK_MIN, SLACK_MAX)).as_secs_f64()
    }

    /// BDP of the known rate and the target RTT, in bytes.
    pub(super) fn bdp(&self) -> f64 {
        self.bdp_at(self.max_rate.get(), self.rtt.target())
    }
}
