//! The steady state: ask for a quarter more for one round, make good for it in the next, then keep
//! to what the path delivers for seven to nine.
//!
//! ```text
//!   Probe ──1 round──▶ Drain ──1 round──▶ Cruise ──7 to 9 rounds──▶ Probe
//!                                           │ the probe got more: Startup again
//!                                           │ three rounds delivered too little: Look
//!                                           ▼
//! ```

use super::ledger::Kind;
use super::path::{Path, Round};
use super::sampler::Sample;
use std::time::{Duration, Instant};

/// Windows in bandwidth-delay products. Beside a rival a drain goes deeper, to show how much of the queue
/// is ours also where it is full and a probe moves nothing.
const PROBING: f64 = 1.25;
const DRAINING: f64 = 0.9;
const DRAINING_BESIDE: f64 = 0.85;

/// Rounds of cruising: at least, and how many more at most. Varied, or two flows could probe in
/// step and never see each other.
const CRUISE: u64 = 7;
const CRUISE_MORE: u64 = 3;

/// Every so many drains go down to the bare minimum: the others leave room for jitter, and a queue
/// that is another's can only be told from ours when ours is quite gone. Once it is known to be
/// there, each deep drain would but leave half of our share to it: the look every 10 s is enough.
const DEEP: u32 = 3;

/// A probe that got this much more found a path that has become faster.
const FASTER: f64 = 1.12;

/// Loss beyond the usual at which a probe's gain was bought by a spilling queue.
const PROBE_SPILLS: f64 = 0.06;

/// Loss beyond the usual, while sending no more than was delivered, that shows a policer or a
/// buffer of a few packets.
const OVERDRIVEN: f64 = 0.05;

/// Packets below which a round's loss is too rough to act upon.
const ROUGH: f64 = 60.0;

/// Share of the best rate under which three rounds in a row are suspect.
const SLOW: f64 = 0.85;

/// Time between two looks for the same suspicion.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct Cycle {
    stage: Stage,
    /// The round in which the stage began.
    since: u64,
    cruise: u64,
    probe: Option<Probe>,
    drains: u32,
    /// The drain that is under way or was last: its window in bandwidth-delay products, and whether those
    /// were of the bare minimum.
    draining: f64,
    deep: bool,
    /// Best rates of the last three rounds, oldest first.
    recent: [Option<f64>; 3],
    suspected: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Probe,
    Drain,
    Cruise,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    began: Instant,
    before: f64,
    best: f64,
}

/// What a round in the cycle may lead to beside the next stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Finding {
    /// The path carries more than was known.
    Faster,
    /// This is all that has been delivered of late, and the round trip is longer: either the path
    /// became slower and we queue, or it became longer.
    SlowerOrLonger(f64),
}

impl Cycle {
    /// Enters the cycle at this stage.
    pub(super) fn begin(stage: Stage, path: &Path) -> Self {
        Self {
            stage,
            since: path.round,
            cruise: CRUISE,
            probe: None,
            drains: u32::from(stage == Stage::Drain),
            draining: draining(path),
            deep: false,
            recent: [None; 3],
            suspected: None,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Remembers that a suspicion has just been looked into.
    pub(super) fn looked(mut self, now: Instant) -> Self {
        self.suspected = Some(now);
        self
    }

    pub(super) fn on_sample(&mut self, sample: &Sample) {
        if let (Some(probe), Some(rate)) = (&mut self.probe, sample.rate)
            && sample.sent >= probe.began
        {
            probe.best = probe.best.max(rate);
        }
    }

    pub(super) fn end_round(
        &mut self,
        now: Instant,
        round: &Round,
        drained: bool,
        delivered: u64,
        path: &mut Path,
    ) -> Option<Finding> {
        self.remember(round);
        let rounds = path.round - self.since;
        match self.stage {
            Stage::Probe if rounds >= 1 => self.enter(now, Stage::Drain, path),
            // After a start there is nothing to make good for but the queue of the start.
            Stage::Drain if rounds >= 1 || (self.probe.is_none() && drained) => {
                self.enter(now, Stage::Cruise, path);
            }
            Stage::Cruise => return self.cruise(now, round, rounds, delivered, path),
            _ => {}
        }
        None
    }

    fn cruise(
        &mut self,
        now: Instant,
        round: &Round,
        rounds: u64,
        delivered: u64,
        path: &mut Path,
    ) -> Option<Finding> {
        // Beside a rival, rounds that bring less or lose more come and go. The maximum forgets in time,
        // as the rival's does; whoever believes them at once gives way and never gets it back.
        let alone = !path.rtt.shared();
        if alone && let Some(finding) = self.slower(now, round, path) {
            return Some(finding);
        }
        match rounds {
            // By now the last word on probe and drain has come.
            1 => {
                path.rtt.end_cycle(self.deep);
                if self.probe.take().is_some_and(|probe| probe.found_more(path)) {
                    return Some(Finding::Faster);
                }
            }
            // A drain from before a look is out of date.
            2 if self.drains > 0 => {
                if let Some(delay) = path.ledger.drained_delay() {
                    path.rtt.set_unqueued(delay, self.deep);
                }
                // What the bare minimum does is no part of the same window.
                if !self.deep
                    && let Some(swing) = path.ledger.swing()
                {
                    path.rtt.observe_swing(swing, PROBING - self.draining);
                }
            }
            _ => {}
        }
        if let Some(best) = round.best
            && rounds >= 2
            && alone
            && overdriven(round, path)
            && best < path.rate.get()
        {
            path.rate.reset(path.round, best);
        }
        if rounds >= self.cruise {
            self.cruise = CRUISE + delivered / path.mtu() % CRUISE_MORE;
            self.enter(now, Stage::Probe, path);
        }
        None
    }

    /// The window in bytes.
    pub(super) fn window(&self, path: &Path) -> f64 {
        let product = if self.stage == Stage::Drain && self.deep {
            path.holds(path.rate.get(), path.rtt.min())
        } else {
            path.product()
        };
        product * self.gain() * path.ledger.compensation() + 2.0 * path.mtu() as f64
    }

    /// The rate at which it means to send, in bytes per second.
    pub(super) fn pace(&self, path: &Path) -> f64 {
        path.rate.get() * self.gain() * path.ledger.compensation()
    }

    fn gain(&self) -> f64 {
        match self.stage {
            Stage::Probe => PROBING,
            Stage::Drain => self.draining,
            Stage::Cruise => 1.0,
        }
    }

    fn enter(&mut self, now: Instant, stage: Stage, path: &mut Path) {
        self.stage = stage;
        self.since = path.round;
        path.ledger.open(
            now,
            match stage {
                Stage::Probe => Kind::Probing,
                Stage::Drain => Kind::Draining,
                Stage::Cruise => Kind::Other,
            },
        );
        match stage {
            Stage::Probe => self.probe = Some(Probe { began: now, before: path.rate.get(), best: 0.0 }),
            Stage::Drain => {
                self.drains += 1;
                self.draining = draining(path);
                self.deep = self.drains.is_multiple_of(DEEP) && !path.rtt.shared();
            }
            Stage::Cruise => {}
        }
    }

    fn remember(&mut self, round: &Round) {
        if round.best.is_some() {
            self.recent = [self.recent[1], self.recent[2], round.best];
        }
    }

    /// Whether three rounds in a row came nowhere near the rate that is believed in.
    fn slower(&mut self, now: Instant, round: &Round, path: &mut Path) -> Option<Finding> {
        let [Some(first), Some(second), Some(third)] = self.recent else { return None };
        let most = first.max(second).max(third);
        if round.best.is_none() || most >= SLOW * path.rate.get() {
            return None;
        }
        let min = path.rtt.min();
        if round.rtt <= min + min / 5 {
            // No queue: the path has shrunk without one, or others have taken their share.
            path.rate.reset(path.round, most);
            return None;
        }
        let lately = self.suspected.is_some_and(|then| now.saturating_duration_since(then) <= PATIENCE);
        (!lately).then_some(Finding::SlowerOrLonger(most))
    }
}

impl Probe {
    fn found_more(self, path: &Path) -> bool {
        let clean = path.ledger.probe_loss().is_none_or(|loss| loss < path.ledger.usual() + PROBE_SPILLS);
        clean && self.best > self.before * FASTER
    }
}

fn draining(path: &Path) -> f64 {
    if path.rtt.shared() { DRAINING_BESIDE } else { DRAINING }
}

/// More is lost than while draining, beyond what chance explains.
fn overdriven(round: &Round, path: &Path) -> bool {
    let chance = 0.5 / round.loss.packets.max(1.0).sqrt();
    round.loss.packets > ROUGH && round.loss.share > path.ledger.usual() + OVERDRIVEN + chance
}
