//! The steady state: ask for a quarter more for one round, make good for it in the next, then keep
//! to what the path delivers for seven to nine.
//!
//! ```text
//!   Probe ──1 round──▶ Drain ──1 round──▶ Cruise ──7 to 9 rounds──▶ Probe
//!                                           │ the probe got more: Startup again
//!                                           │ three rounds delivered too little: Look
//!                                           ▼
//! ```

use super::loss_account::EpochKind;
use super::path_model::{PathModel, RoundSummary};
use super::rate_sampler::RateSample;
use std::time::{Duration, Instant};

/// Windows in bandwidth-delay products. Beside a rival a drain goes deeper, to show how much of the queue
/// is ours also where it is full and a probe moves nothing.
const UP_GAIN: f64 = 1.25;
const DOWN_GAIN: f64 = 0.9;
const SHARED_DOWN_GAIN: f64 = 0.85;

/// Rounds of cruising: at least, and how many more at most. Varied, or two flows could probe in
/// step and never see each other.
const CRUISE_ROUNDS_MIN: u64 = 7;
const CRUISE_ROUNDS_SPREAD: u64 = 3;

/// Every so many drains go down to the bare minimum: the others leave room for jitter, and a queue
/// that is another's can only be told from ours when ours is quite gone. Once it is known to be
/// there, each deep drain would but leave half of our share to it: the look every 10 s is enough.
const DEEP_DOWN_INTERVAL: u32 = 3;

/// A probe that got this much more found a path that has become faster.
const MORE_BANDWIDTH_GROWTH: f64 = 1.12;

/// Loss beyond the usual at which a probe's gain was bought by a spilling queue.
const UP_EXCESS_LOSS_MAX: f64 = 0.06;

/// Loss beyond the usual, while sending no more than was delivered, that shows a policer or a
/// buffer of a few packets.
const CRUISE_EXCESS_LOSS_MAX: f64 = 0.05;

/// Packets below which a round's loss is too rough to act upon.
const LOSS_SAMPLE_PACKETS_MIN: f64 = 60.0;

/// Share of the best rate under which three rounds in a row are suspect.
const LOW_RATE_SHARE: f64 = 0.85;

/// Time between two looks for the same suspicion.
const LOW_RATE_PROBE_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct ProbeBandwidth {
    phase: ProbePhase,
    /// The round in which the stage began.
    phase_start_round: u64,
    cruise_rounds: u64,
    up: Option<UpProbe>,
    down_count: u32,
    /// The drain that is under way or was last: its window in bandwidth-delay products, and whether those
    /// were of the bare minimum.
    down_gain: f64,
    deep_down: bool,
    /// Best rates of the last three rounds, oldest first.
    recent_rates: [Option<f64>; 3],
    low_rate_probed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbePhase {
    Up,
    Down,
    Cruise,
}

#[derive(Debug, Clone, Copy)]
struct UpProbe {
    started: Instant,
    rate_before: f64,
    best_rate: f64,
}

/// What a round in the cycle may lead to beside the next stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BandwidthChange {
    /// The path carries more than was known.
    More,
    /// This is all that has been delivered of late, and the round trip is longer: either the path
    /// became slower and we queue, or it became longer.
    LessOrLongerRtt(f64),
}

impl ProbeBandwidth {
    /// Enters the cycle at this stage.
    pub(super) fn begin(phase: ProbePhase, path: &PathModel) -> Self {
        Self {
            phase,
            phase_start_round: path.round_count,
            cruise_rounds: CRUISE_ROUNDS_MIN,
            up: None,
            down_count: u32::from(phase == ProbePhase::Down),
            down_gain: down_gain(path),
            deep_down: false,
            recent_rates: [None; 3],
            low_rate_probed_at: None,
        }
    }

    pub(super) fn phase(&self) -> ProbePhase {
        self.phase
    }

    /// Remembers that a suspicion has just been looked into.
    pub(super) fn after_low_rate(mut self, now: Instant) -> Self {
        self.low_rate_probed_at = Some(now);
        self
    }

    pub(super) fn on_sample(&mut self, sample: &RateSample) {
        if let (Some(probe), Some(rate)) = (&mut self.up, sample.delivery_rate)
            && sample.newest_sent >= probe.started
        {
            probe.best_rate = probe.best_rate.max(rate);
        }
    }

    pub(super) fn end_round(
        &mut self,
        now: Instant,
        round: &RoundSummary,
        drained: bool,
        delivered: u64,
        path: &mut PathModel,
    ) -> Option<BandwidthChange> {
        self.record_rate(round);
        let rounds = path.round_count - self.phase_start_round;
        match self.phase {
            ProbePhase::Up if rounds >= 1 => self.enter(now, ProbePhase::Down, path),
            // After a start there is nothing to make good for but the queue of the start.
            ProbePhase::Down if rounds >= 1 || (self.up.is_none() && drained) => {
                self.enter(now, ProbePhase::Cruise, path);
            }
            ProbePhase::Cruise => return self.end_cruise_round(now, round, rounds, delivered, path),
            _ => {}
        }
        None
    }

    fn end_cruise_round(
        &mut self,
        now: Instant,
        round: &RoundSummary,
        rounds: u64,
        delivered: u64,
        path: &mut PathModel,
    ) -> Option<BandwidthChange> {
        // Beside a rival, rounds that bring less or lose more come and go. The maximum forgets in time,
        // as the rival's does; whoever believes them at once gives way and never gets it back.
        let alone = !path.rtt.is_shared();
        if alone && let Some(change) = self.detect_low_rate(now, round, path) {
            return Some(change);
        }
        match rounds {
            // By now the last word on probe and drain has come.
            1 => {
                path.rtt.end_probe_cycle(self.deep_down);
                if self.up.take().is_some_and(|probe| probe.found_more_bandwidth(path)) {
                    return Some(BandwidthChange::More);
                }
            }
            // A drain from before a look is out of date.
            2 if self.down_count > 0 => {
                if let Some(rtt) = path.loss_account.probe_down_rtt() {
                    path.rtt.set_unqueued(rtt, self.deep_down);
                }
                // What the bare minimum does is no part of the same window.
                if !self.deep_down
                    && let Some(response) = path.loss_account.queue_response()
                {
                    path.rtt.observe_queue_response(response, UP_GAIN - self.down_gain);
                }
            }
            _ => {}
        }
        if let Some(best) = round.best_rate
            && rounds >= 2
            && alone
            && has_excess_loss(round, path)
            && best < path.max_rate.get()
        {
            path.max_rate.reset(path.round_count, best);
        }
        if rounds >= self.cruise_rounds {
            self.cruise_rounds = CRUISE_ROUNDS_MIN + delivered / path.mtu() % CRUISE_ROUNDS_SPREAD;
            self.enter(now, ProbePhase::Up, path);
        }
        None
    }

    /// The window in bytes.
    pub(super) fn window(&self, path: &PathModel) -> f64 {
        let bdp = if self.phase == ProbePhase::Down && self.deep_down {
            path.bdp_at(path.max_rate.get(), path.rtt.min())
        } else {
            path.bdp()
        };
        bdp * self.gain() * path.loss_account.compensation() + 2.0 * path.mtu() as f64
    }

    /// The rate at which it means to send, in bytes per second.
    pub(super) fn pacing_rate(&self, path: &PathModel) -> f64 {
        path.max_rate.get() * self.gain() * path.loss_account.compensation()
    }

    fn gain(&self) -> f64 {
        match self.phase {
            ProbePhase::Up => UP_GAIN,
            ProbePhase::Down => self.down_gain,
            ProbePhase::Cruise => 1.0,
        }
    }

    fn enter(&mut self, now: Instant, phase: ProbePhase, path: &mut PathModel) {
        self.phase = phase;
        self.phase_start_round = path.round_count;
        path.loss_account.begin_epoch(
            now,
            match phase {
                ProbePhase::Up => EpochKind::ProbeUp,
                ProbePhase::Down => EpochKind::ProbeDown,
                ProbePhase::Cruise => EpochKind::Other,
            },
        );
        match phase {
            ProbePhase::Up => {
                self.up = Some(UpProbe { started: now, rate_before: path.max_rate.get(), best_rate: 0.0 })
            }
            ProbePhase::Down => {
                self.down_count += 1;
                self.down_gain = down_gain(path);
                self.deep_down = self.down_count.is_multiple_of(DEEP_DOWN_INTERVAL) && !path.rtt.is_shared();
            }
            ProbePhase::Cruise => {}
        }
    }

    fn record_rate(&mut self, round: &RoundSummary) {
        if round.best_rate.is_some() {
            self.recent_rates = [self.recent_rates[1], self.recent_rates[2], round.best_rate];
        }
    }

    /// Whether three rounds in a row came nowhere near the rate that is believed in.
    fn detect_low_rate(
        &mut self,
        now: Instant,
        round: &RoundSummary,
        path: &mut PathModel,
    ) -> Option<BandwidthChange> {
        let [Some(first), Some(second), Some(third)] = self.recent_rates else { return None };
        let highest = first.max(second).max(third);
        if round.best_rate.is_none() || highest >= LOW_RATE_SHARE * path.max_rate.get() {
            return None;
        }
        let min = path.rtt.min();
        if round.rtt <= min + min / 5 {
            // No queue: the path has shrunk without one, or others have taken their share.
            path.max_rate.reset(path.round_count, highest);
            return None;
        }
        let recently = self
            .low_rate_probed_at
            .is_some_and(|at| now.saturating_duration_since(at) <= LOW_RATE_PROBE_INTERVAL);
        (!recently).then_some(BandwidthChange::LessOrLongerRtt(highest))
    }
}

impl UpProbe {
    fn found_more_bandwidth(self, path: &PathModel) -> bool {
        let clean = path
            .loss_account
            .probe_up_loss()
            .is_none_or(|loss| loss < path.loss_account.base_loss() + UP_EXCESS_LOSS_MAX);
        clean && self.best_rate > self.rate_before * MORE_BANDWIDTH_GROWTH
    }
}

fn down_gain(path: &PathModel) -> f64 {
    if path.rtt.is_shared() { SHARED_DOWN_GAIN } else { DOWN_GAIN }
}

/// More is lost than while draining, beyond what chance explains.
fn has_excess_loss(round: &RoundSummary, path: &PathModel) -> bool {
    let noise = 0.5 / round.loss.packets.max(1.0).sqrt();
    round.loss.packets > LOSS_SAMPLE_PACKETS_MIN
        && round.loss.rate > path.loss_account.base_loss() + CRUISE_EXCESS_LOSS_MAX + noise
}
