//! ProbeBandwidth, the steady state: sends a quarter more for one round (Up), drains that queue in the next
//! (Down), and then sends what the path delivers for seven to nine rounds (Cruise).
//!
//! ```text
//!   Up ──1 round──▶ Down ──1 round──▶ Cruise ──7 to 9 rounds──▶ Up
//!                                       │ Up delivered more: Startup again
//!                                       │ three rounds delivered too little: ProbeRtt
//!                                       ▼
//! ```
//!
//! Must never lower the rate because of loss alone while another flow shares the queue.

use super::loss_account::EpochKind;
use super::path_model::{PathModel, RoundSummary};
use super::rate_sampler::RateSample;
use std::time::{Duration, Instant};

/// Gain of the window and the pacing rate in Up.
const UP_GAIN: f64 = 1.25;

/// Gain in Down.
const DOWN_GAIN: f64 = 0.9;

/// Gain in Down while another flow shares the queue. Lower, so that the RTT reveals our share of the queue
/// even when the queue is full and Up cannot raise it.
const SHARED_DOWN_GAIN: f64 = 0.85;

/// Rounds in Cruise, at least. The number varies, so that two flows do not probe at the same time and fail to
/// notice each other.
const CRUISE_ROUNDS_MIN: u64 = 7;

/// Number of different durations of Cruise: 7, 8 or 9 rounds.
const CRUISE_ROUNDS_SPREAD: u64 = 3;

/// Every third Down phase is deep: its window is the BDP at min_rtt. The other Down phases leave room for
/// jitter, but only a queue that is left when ours is completely gone can be attributed to another flow.
/// While such a queue exists, no Down phase is deep, since each would give half of our share to the other
/// flow; ProbeRtt every 10 s is enough then.
const DEEP_DOWN_INTERVAL: u32 = 3;

/// Growth of the delivery rate in Up from which on the path has more bandwidth.
const MORE_BANDWIDTH_GROWTH: f64 = 1.12;

/// Loss above the base loss in Up from which on the higher delivery rate is ignored: the queue overflowed.
const UP_EXCESS_LOSS_MAX: f64 = 0.06;

/// Loss above the base loss in Cruise that reveals a policer, or a queue of a few packets.
const CRUISE_EXCESS_LOSS_MAX: f64 = 0.05;

/// Packets that a round needs before its loss rate counts.
const EXCESS_LOSS_PACKETS_MIN: f64 = 60.0;

/// Share of the maximum rate below which three rounds in a row count as a low rate.
const LOW_RATE_SHARE: f64 = 0.85;

/// Minimum time between two ProbeRtt states that a low rate causes.
const LOW_RATE_PROBE_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct ProbeBandwidth {
    phase: ProbePhase,
    /// The round in which the phase began.
    phase_start_round: u64,
    cruise_rounds: u64,
    up: Option<UpProbe>,
    down_count: u32,
    /// Gain of the current or last Down phase.
    down_gain: f64,
    /// Whether that phase was deep: see [`DEEP_DOWN_INTERVAL`].
    deep_down: bool,
    /// Delivery rates of the last three trusted rounds, oldest first.
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

/// A change of the path that leaves ProbeBandwidth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BandwidthChange {
    /// The path delivers more than the known rate.
    More,
    /// The path delivered only this rate in the last rounds, at a longer RTT: either the rate fell and we
    /// build a queue, or the RTT without queues grew.
    LessOrLongerRtt(f64),
}

impl ProbeBandwidth {
    /// Enters ProbeBandwidth in this phase. After Startup, Down has the role of BBR's Drain state.
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

    /// Records that ProbeRtt has just examined a low rate.
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
            // After Startup, only Startup's queue has to drain.
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
        // Beside another flow, a round may deliver less or lose more by chance. The max filter forgets a rate
        // in time, as the other flow's filter does. A sender that lowers its rate at once never gets its
        // share back.
        let alone = !path.rtt.is_shared();
        if alone && let Some(change) = self.detect_low_rate(now, round, path) {
            return Some(change);
        }
        match rounds {
            // All packets of Up and Down are acknowledged or declared lost by now.
            1 => {
                path.rtt.end_probe_cycle(self.deep_down);
                if self.up.take().is_some_and(|probe| probe.found_more_bandwidth(path)) {
                    return Some(BandwidthChange::More);
                }
            }
            // A Down phase before ProbeRtt is out of date.
            2 if self.down_count > 0 => {
                if let Some(rtt) = path.loss_account.probe_down_rtt() {
                    path.rtt.set_unqueued(rtt, self.deep_down);
                }
                // A deep Down phase has another window, so the responses are not comparable.
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

    /// The intended sending rate in bytes per second.
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

    /// Whether three rounds in a row delivered much less than the maximum rate.
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
            // No queue: the path lost bandwidth without building one, or other flows took their share.
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

/// Whether a round in Cruise lost more than the base loss, beyond statistical noise.
fn has_excess_loss(round: &RoundSummary, path: &PathModel) -> bool {
    let noise = 0.5 / round.loss.packets.max(1.0).sqrt();
    round.loss.packets > EXCESS_LOSS_PACKETS_MIN
        && round.loss.rate > path.loss_account.base_loss() + CRUISE_EXCESS_LOSS_MAX + noise
}
