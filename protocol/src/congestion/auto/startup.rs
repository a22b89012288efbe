//! Startup: doubles the bytes in flight in each round until the path is full, and not beyond.
//!
//! Must detect a full path by its RTTs, before a queue of one BDP overflows.

use super::path_model::{PathModel, RoundSummary};
use super::rate_sampler::RateSample;
use crate::congestion::constants::INITIAL_WINDOW;
use std::time::{Duration, Instant};

/// Growth of the window per acknowledged byte. Together with the pacer's 1.25 it fills a path of 100 Mbit/s
/// and 200 ms within 1.5 s.
const WINDOW_GROWTH: f64 = 1.25;

/// Maximum window in measured BDPs while the arrival rate grows: a little more than two, so that the rate can
/// double within a round.
const GROWING_CWND_GAIN: f64 = 2.1;

/// The same when the arrival rate has stopped growing: more would only queue.
const FLAT_CWND_GAIN: f64 = 1.75;

/// Growth of the arrival rate from one quarter of a round trip to the next, above which the path is not full
/// yet.
const ARRIVAL_GROWTH: f64 = 1.08;

/// Growth of the rate per round below which a round counts as flat.
const FULL_RATE_GROWTH: f64 = 1.25;

/// Flat rounds that end Startup.
const FULL_RATE_ROUNDS: u32 = 3;

/// Loss above the base loss that indicates a queue overflow. One flat round ends Startup then.
const EXCESS_LOSS_MAX: f64 = 0.15;

/// Rounds in which the measured rate is still unreliable.
const EARLY_ROUNDS: u64 = 4;

#[derive(Debug, Clone, Default)]
pub(super) struct Startup {
    full_rate: f64,
    flat_rounds: u32,
    unqueued_rtt: MeanRtt,
    arrival: ArrivalRate,
    queue: QueueDetector,
}

impl Startup {
    /// Starts from this rate, in bytes per second; 0 if none is known.
    pub(super) fn from(rate: f64) -> Self {
        Self { full_rate: rate, ..Self::default() }
    }

    /// Whether the path is full. If so, its rate is known.
    pub(super) fn on_sample(
        &mut self,
        now: Instant,
        sample: &RateSample,
        delivered: u64,
        path: &mut PathModel,
    ) -> bool {
        // Only the newest packet of a batch counts: before bulk, the receiver delays acknowledgements of the
        // few others.
        if path.round_count < EARLY_ROUNDS
            && let Some(rtt) = sample.rtt
        {
            path.rtt.set_unqueued(self.unqueued_rtt.with(rtt), false);
        }
        self.arrival.observe(now, delivered, path.rtt.min());
        if !self.queue.observe(sample, path) {
            return false;
        }
        // A rate sample of one round trip still averages over the growth. The arrival rate of the last
        // quarter of a round trip is the bottleneck's rate.
        let (max_rate, arriving) = (path.max_rate.get(), self.arrival.rate.min(path.max_rate.get() * 1.3));
        if arriving > max_rate {
            path.max_rate.reset(path.round_count, arriving);
        }
        true
    }

    /// Whether the path is full, because its rate no longer grows.
    pub(super) fn end_round(
        &mut self,
        round: &RoundSummary,
        app_limited: bool,
        path: &mut PathModel,
    ) -> bool {
        if app_limited {
            return false;
        }
        if path.max_rate.get() >= self.full_rate * FULL_RATE_GROWTH {
            (self.full_rate, self.flat_rounds) = (path.max_rate.get(), 0);
            path.loss_account.add_startup_round(round.loss);
        } else {
            self.flat_rounds += 1;
        }
        self.flat_rounds >= FULL_RATE_ROUNDS || (self.flat_rounds >= 1 && queue_overflowed(round, path))
    }

    /// The window after `acked` bytes have been acknowledged.
    pub(super) fn window(&self, window: f64, acked: u64, path: &PathModel) -> f64 {
        let compensation = path.loss_account.startup_compensation();
        let arriving = self.arrival.rate.min(path.max_rate.get() * 2.0);
        let bdp = path.bdp().max(path.bdp_at(arriving, path.rtt.min()));
        let growing = path.round_count < EARLY_ROUNDS
            || self.arrival.rate > self.arrival.previous_rate * ARRIVAL_GROWTH;
        let limit = bdp * compensation * if growing { GROWING_CWND_GAIN } else { FLAT_CWND_GAIN };
        grown_window(window, acked, path).min(limit.max(INITIAL_WINDOW))
    }
}

/// The window after `acked` bytes have been acknowledged, on a path that is not full.
pub(super) fn grown_window(window: f64, acked: u64, path: &PathModel) -> f64 {
    window + acked as f64 * path.loss_account.startup_compensation() * WINDOW_GROWTH
}

/// Whether a round lost so much more than the base loss that a queue overflowed.
pub(super) fn queue_overflowed(round: &RoundSummary, path: &PathModel) -> bool {
    round.loss.rate > path.loss_account.base_loss() + EXCESS_LOSS_MAX
}

/// Mean RTT.
#[derive(Debug, Clone, Default)]
struct MeanRtt {
    sum: Duration,
    count: u32,
}

impl MeanRtt {
    fn with(&mut self, rtt: Duration) -> Duration {
        (self.sum, self.count) = (self.sum + rtt, self.count + 1);
        self.sum / self.count
    }
}

/// Arrival rate over a quarter of a round trip.
#[derive(Debug, Clone, Default)]
struct ArrivalRate {
    since: Option<(Instant, u64)>,
    rate: f64,
    previous_rate: f64,
}

impl ArrivalRate {
    fn observe(&mut self, now: Instant, delivered: u64, min_rtt: Duration) {
        const INTERVAL_MIN: Duration = Duration::from_millis(5);
        let Some((since, before)) = self.since else {
            self.since = Some((now, delivered));
            return;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < (min_rtt / 4).max(INTERVAL_MIN) {
            return;
        }
        self.previous_rate = self.rate;
        // Nothing was acknowledged for a round trip, so there is no arrival rate.
        let stalled = elapsed >= min_rtt.max(INTERVAL_MIN * 2);
        self.rate = if stalled { 0.0 } else { (delivered - before) as f64 / elapsed.as_secs_f64() };
        self.since = Some((now, delivered));
    }
}

/// Detects that a queue builds up.
#[derive(Debug, Clone, Default)]
struct QueueDetector {
    high_rtt_samples: u32,
}

impl QueueDetector {
    /// Whether enough RTT samples in a row were too long to be chance.
    fn observe(&mut self, sample: &RateSample, path: &PathModel) -> bool {
        const HIGH_RTT_SAMPLES_MIN: u32 = 8;
        const QUEUE_DELAY_MIN: Duration = Duration::from_millis(4);
        if let Some(rtt) = sample.rtt {
            let min = path.rtt.min();
            let threshold = min + (min / 8).max(QUEUE_DELAY_MIN) + path.rtt.jitter() * 2;
            self.high_rtt_samples = if rtt > threshold { self.high_rtt_samples + 1 } else { 0 };
        }
        self.high_rtt_samples >= HIGH_RTT_SAMPLES_MIN
    }
}
