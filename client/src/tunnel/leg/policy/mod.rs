//! Decides which way to one server is dialed, tried and used.
//!
//! A way that has lost a trial rests for minutes, longer each time. Only after its first lost trial it rests for ten
//! seconds: chance may have lost it, such as a busy machine, and eight minutes on a leg with a fifth of the link would cost
//! more than a second trial.
//!
//! Must never leave a working way for a guess: it moves only to a session that is up, and, if bodies are under way,
//! has shown its goodput.

mod decision;
#[cfg(test)]
mod tests;
mod way_state;

pub use decision::{DialOrder, Instruction, SessionLoss, Traffic};

use super::LegChoice;
use super::goodput::GoodputMeter;
use super::knowledge::Knowledge;
use super::reason::{TrialReason, UseReason};
use super::recent_losses::RecentLosses;
use super::rest::RestCause;
use super::trial::{Carriers, Progress, Trial};
use super::way::{PerWay, Way};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use way_state::WayState;

/// How long after one way the next one is dialed, if no round trip is known: a QUIC handshake of 200 ms is
/// answered by then, and TCP's three round trips still end within a second.
const HEAD_START_FIRST: Duration = Duration::from_millis(250);

/// The least head start of a way: what a busy machine takes for a handshake.
const HEAD_START_MIN: Duration = Duration::from_millis(100);

/// The longest one. Longer round trips were not seen on a path that works.
const HEAD_START_MAX: Duration = Duration::from_secs(1);

/// The same after a session was lost that had worked: the first packet of a handshake is sent again after 0.3 s, and is
/// answered a round trip later, when TCP still needs another one. So one lost packet is no reason to leave a leg.
const HEAD_START_AFTER_LOSS: Duration = Duration::from_millis(300);

/// A plateau below this part of what the path has shown is a reason for a trial. Pulls from one registry vary by a
/// third from one to the next; a policer or a broken route takes more than half.
const FAR_BELOW: f64 = 0.5;

/// Loss under load that is a reason to look at a leg that was never measured, and so is loss that is not known. Behind
/// a policer, 12 % of what is sent is lost (20 of 100 Mbit/s). What a link loses by chance doesn't count: the server
/// leaves it out, since QUIC fills such a link, and a trial within the first seconds costs a quarter of a pull of 20 s.
/// What remains of a second is 4 % at most on links with up to 15 % loss, also in bursts, and mostly 5 to 30 % behind
/// the policer.
const HIGH_LOSS: f64 = 0.05;

/// Load after which a leg that was never measured is looked at without loss, since a shaper need not drop anything, and
/// looks like a slow line. A trial moves bytes that would come anyway; should it still cost half a second, that is 2 %
/// of this, once a day.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(25);

/// Moves that measurement may cause in [`MOVES_WINDOW`]: one away from a link that worsens, and one back when it mends.
/// Those of a leg that broke count, and are never prevented. Simulated over days in suite `leg_policy`.
const MOVES_MAX: usize = 2;

/// The time over which moves are counted: that in which a link that worsens and mends must cost no more.
const MOVES_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Bytes after which a session on a leg that came back without a trial has proven itself: more than any filter lets
/// through that stops flows at their beginning.
const PROBATION_BYTES: u64 = 1024 * 1024;

/// The policy for one server on one network.
#[derive(Debug)]
pub struct LegPolicy {
    choice: LegChoice,
    /// Those that may be dialed, the best first.
    ways: Vec<Way>,
    states: PerWay<WayState>,
    preferred: Way,
    /// The way of the last session.
    last_used: Option<Way>,
    why: UseReason,
    session: Option<InUse>,
    beside: Beside,
    recent_losses: RecentLosses,
    /// When the way in use changed, lately.
    moves: VecDeque<Instant>,
    rtt: Option<Duration>,
}

#[derive(Debug)]
struct InUse {
    way: Way,
    since: Instant,
    meter: GoodputMeter,
    /// Whether its way came back without a trial, and has carried little since.
    is_on_probation: bool,
}

/// What there is beside the session in use.
#[derive(Debug)]
enum Beside {
    Nothing,
    /// QUIC's attempt of the race goes on.
    Racing,
    /// This way is dialed, and the goodput of the one in use was this before, if it had load.
    Dialing(Way, Option<f64>),
    Trial(Box<Trial>),
}

impl LegPolicy {
    /// The policy for a server of which this is known. `has_proxy` is whether the environment names a proxy for it.
    #[must_use]
    pub fn new(choice: LegChoice, has_proxy: bool, known: &Knowledge, now: Instant) -> Self {
        let is_allowed = |way: &Way| match choice {
            LegChoice::Auto => true,
            LegChoice::Only(leg) => way.leg() == leg,
        };
        let ways = Way::ALL.into_iter().filter(is_allowed).filter(|way| has_proxy || *way != Way::Proxy);
        let ways: Vec<Way> = ways.collect();
        let state = |known| WayState::of(known, now);
        Self {
            choice,
            states: PerWay::new(state(&known.quic), state(&known.tcp), state(&known.proxy)),
            preferred: if ways.contains(&known.preferred) { known.preferred } else { ways[0] },
            ways,
            last_used: None,
            why: UseReason::Preferred,
            session: None,
            beside: Beside::Nothing,
            recent_losses: RecentLosses::default(),
            moves: VecDeque::new(),
            rtt: None,
        }
    }

    /// What is known now.
    #[must_use]
    pub fn knowledge(&self, now: Instant) -> Knowledge {
        let [quic, tcp, proxy] = Way::ALL.map(|way| self.states.get(way).knowledge(now));
        Knowledge { preferred: self.preferred, quic, tcp, proxy }
    }

    /// The way in use, and why.
    #[must_use]
    pub fn in_use(&self) -> Option<(Way, UseReason)> {
        let way = self.session.as_ref()?.way;
        Some((way, if self.choice == LegChoice::Auto { self.why } else { UseReason::Set }))
    }

    /// Whether the way rests, for how long, and why.
    #[must_use]
    pub fn rest(&self, way: Way, now: Instant) -> Option<(Duration, RestCause)> {
        let rest = self.states.get(way).rests.current()?;
        Some((rest.until.saturating_duration_since(now), rest.cause))
    }

    /// The ways to dial while no session is up, or beside one that is silent: then as if it were lost so now.
    #[must_use]
    pub fn dial_order(&self, loss: SessionLoss, now: Instant) -> DialOrder {
        let is_left = self.session.as_ref().is_some_and(|session| self.would_leave(session, loss, now));
        let first = if is_left { self.next_after(self.preferred, now) } else { self.preferred };
        let head_start = match (self.last_used, self.rtt) {
            (Some(_), _) => HEAD_START_AFTER_LOSS,
            // What usually comes first was worse here, or did not come up: it must not win by a shorter handshake.
            _ if first != self.ways[0] => HEAD_START_MAX,
            (None, Some(rtt)) => rtt.clamp(HEAD_START_MIN, HEAD_START_MAX),
            (None, None) => HEAD_START_FIRST,
        };
        let mut ways = self.ways.clone();
        ways.sort_by_key(|way| *way != first);
        DialOrder { ways, head_start }
    }

    /// The best way beside this one, if possible one that does not rest.
    fn next_after(&self, way: Way, now: Instant) -> Way {
        let others = self.ways.iter().filter(|other| **other != way);
        others
            .min_by_key(|other| (self.states.get(**other).rests.is_resting(now), **other))
            .copied()
            .unwrap_or(way)
    }

    /// A session on this way is up and in use: the first one that [`dial_order`](Self::dial_order) led to.
    pub fn up(&mut self, way: Way, now: Instant) {
        if way != self.preferred {
            for loser in self.ways.iter().filter(|other| **other == self.preferred || **other < way) {
                self.states.get_mut(*loser).rests.lost_race(now);
            }
            self.why = UseReason::FirstUp;
        } else if self.last_used != Some(way) && self.why != UseReason::OtherBroke {
            self.why = UseReason::Preferred;
        }
        self.take(way, now, false);
    }

    /// Whether QUIC's attempt, which lost the race that led to the session in use, goes on beside it: lost packets may
    /// have delayed it. Report `beside_up` after its Welcome, or `beside_failed`.
    pub fn race_goes_on(&mut self) -> bool {
        let goes_on = self.lost_race(Way::Quic)
            && self.session.as_ref().is_some_and(|session| session.way != Way::Quic);
        if goes_on {
            self.beside = Beside::Racing;
        }
        goes_on
    }

    fn lost_race(&self, way: Way) -> bool {
        self.states.get(way).rests.current().is_some_and(|rest| rest.cause == RestCause::LostRace)
    }

    /// The session in use was lost. What was dialed beside it is to be dropped. `random` is from 0 to 1.
    pub fn lost(&mut self, loss: SessionLoss, now: Instant, random: f64) {
        let Some(session) = self.session.take() else { return };
        self.beside = Beside::Nothing;
        let is_left = loss != SessionLoss::Ended && self.would_leave(&session, loss, now);
        let rests = &mut self.states.get_mut(session.way).rests;
        rests.was_used(now.saturating_duration_since(session.since));
        if is_left {
            rests.begin(now, RestCause::PoorGoodput, random);
            self.preferred = self.next_after(session.way, now);
            self.why = UseReason::OtherBroke;
        }
        if loss != SessionLoss::Ended && session.meter.is_loaded() {
            self.recent_losses.add(now, session.meter.received());
        }
    }

    /// Records what was carried by `now`. To be called every quarter of a second. `random` is from 0 to 1.
    pub fn observe(&mut self, now: Instant, traffic: Traffic, random: f64) -> Option<Instruction> {
        self.rtt = Some(traffic.rtt);
        let session = self.session.as_mut()?;
        session.meter.observe(now, traffic.in_use);
        if session.meter.received() >= PROBATION_BYTES {
            session.is_on_probation = false;
        }
        match &mut self.beside {
            Beside::Nothing => {
                self.remember_goodput(now);
                let (way, reason) = self.trial_reason(now, &traffic)?;
                let meter = &self.session.as_ref()?.meter;
                let goodput = meter.plateau().or(meter.flat()).filter(|_| meter.is_loaded());
                self.beside = Beside::Dialing(way, goodput);
                Some(Instruction::DialBeside(way, reason))
            }
            Beside::Racing | Beside::Dialing(..) => None,
            Beside::Trial(trial) => {
                let progress = trial.observe(now, traffic.in_use, traffic.on_trial, traffic.rtt);
                self.conclude(progress, now, random)
            }
        }
    }

    /// The way that was dialed beside is up.
    pub fn beside_up(&mut self, now: Instant) -> Option<Instruction> {
        let session = self.session.as_ref()?;
        let (way, before) = match self.beside {
            Beside::Racing => (Way::Quic, None),
            Beside::Dialing(way, before) => (way, before),
            Beside::Nothing | Beside::Trial(_) => return None,
        };
        let (in_use, is_loaded) = (session.way, session.meter.is_loaded());
        // The start of a body says little, but nothing speaks against a way that came up late.
        let begun = || self.lost_race(way).then(|| session.meter.recent().unwrap_or_default());
        let of_body = || session.meter.plateau().or_else(begun).filter(|_| is_loaded);
        // The trial waits for the next body if this one has just ended.
        let plateau = of_body().or(before);
        let rests = &mut self.states.get_mut(way).rests;
        let was_unreachable = rests.current().is_some_and(|rest| rest.cause != RestCause::PoorGoodput);
        match plateau {
            Some(baseline) => {
                self.beside = Beside::Trial(Box::new(Trial::new(way, in_use, baseline, now)));
                Some(Instruction::Carry(Carriers::Both))
            }
            // It was left since it did not come up, and now it does. No body is disturbed.
            None if was_unreachable && !is_loaded => {
                self.why = UseReason::ReachableAgain;
                self.take(way, now, true);
                Some(Instruction::MoveTo(way, UseReason::ReachableAgain))
            }
            None => {
                rests.inconclusive(now);
                self.beside = Beside::Nothing;
                Some(Instruction::CloseBeside)
            }
        }
    }

    /// The way that was dialed beside did not come up, or the session on trial was lost.
    pub fn beside_failed(&mut self, now: Instant, random: f64) {
        let (way, cause) = match std::mem::replace(&mut self.beside, Beside::Nothing) {
            // After a race, a fresh port decides.
            Beside::Nothing | Beside::Racing => return,
            Beside::Dialing(way, _) => (way, RestCause::Unreachable),
            Beside::Trial(trial) => (trial.way(), RestCause::PoorGoodput),
        };
        self.states.get_mut(way).rests.begin(now, cause, random);
    }

    /// The way that was dialed beside was not tried, for a reason on this machine: that says nothing of it.
    pub fn beside_not_tried(&mut self, now: Instant) {
        if let Beside::Dialing(way, _) = std::mem::replace(&mut self.beside, Beside::Nothing) {
            self.states.get_mut(way).rests.inconclusive(now);
        }
    }

    /// Whether the way is left if its session is lost so. One that carried nothing has not shown a filter.
    fn would_leave(&self, session: &InUse, loss: SessionLoss, now: Instant) -> bool {
        let has_lost_often =
            || session.meter.is_loaded() && self.recent_losses.would_leave(now, session.meter.received());
        let is_to_blame = loss == SessionLoss::Unanswered || session.is_on_probation || has_lost_often();
        self.ways.len() > 1 && is_to_blame
    }

    fn conclude(&mut self, progress: Progress, now: Instant, random: f64) -> Option<Instruction> {
        if progress == Progress::Continues {
            return None;
        }
        if progress == Progress::CloserLook {
            return Some(Instruction::Carry(Carriers::TrialOnly));
        }
        let Beside::Trial(trial) = std::mem::replace(&mut self.beside, Beside::Nothing) else { return None };
        let way = trial.way();
        let session = self.session.as_mut()?;
        let in_use = session.way;
        // An earlier way that lost the race is tried at the start of a body, which shows nothing of the one in use.
        let shows = !trial.is_earlier() || session.meter.plateau().is_some();
        // It has shared the path.
        session.meter.clear();
        match progress {
            Progress::Won(rate) => {
                self.states.get_mut(way).show(rate, now);
                if shows {
                    self.states.get_mut(in_use).show(trial.baseline(), now);
                }
                if !trial.is_earlier() {
                    // An earlier way is tried again. A later one needs a reason.
                    self.rest_after_use(in_use, now, random);
                }
                self.why = UseReason::BetterGoodput;
                self.take(way, now, false);
                return Some(Instruction::MoveTo(way, UseReason::BetterGoodput));
            }
            Progress::Lost(rate) => {
                let state = self.states.get_mut(way);
                state.rests.lost_trial(now, random);
                // A way that stops has shown nothing, and is tried again after its rest.
                state.forget_goodput();
                if let Some(rate) = rate {
                    state.show(rate, now);
                }
                // The path carries no more at present, whatever it has shown before.
                self.states.get_mut(in_use).show(trial.baseline(), now);
            }
            Progress::Inconclusive | Progress::Continues | Progress::CloserLook => {
                self.states.get_mut(way).rests.inconclusive(now);
            }
        }
        Some(Instruction::CloseBeside)
    }

    fn rest_after_use(&mut self, way: Way, now: Instant, random: f64) {
        let used = self
            .session
            .as_ref()
            .map_or(Duration::ZERO, |session| now.saturating_duration_since(session.since));
        let rests = &mut self.states.get_mut(way).rests;
        rests.was_used(used);
        rests.begin(now, RestCause::PoorGoodput, random);
    }

    fn take(&mut self, way: Way, now: Instant, is_on_probation: bool) {
        if self.last_used.replace(way).is_some_and(|last| last != way) {
            self.moves.push_back(now);
            self.recent_losses.clear();
        }
        self.beside = Beside::Nothing;
        self.preferred = way;
        self.states.get_mut(way).rests.end();
        self.session = Some(InUse { way, since: now, meter: GoodputMeter::default(), is_on_probation });
    }

    /// Records the goodput of the way in use, if it is the best that is known, or the last that was known is old.
    fn remember_goodput(&mut self, now: Instant) {
        let Some(session) = &self.session else { return };
        let Some(rate) = session.meter.plateau() else { return };
        let state = self.states.get_mut(session.way);
        if state.shown(now).is_none_or(|shown| rate >= shown) {
            state.show(rate, now);
        }
    }

    /// The way that is to be tried now, if any, and why.
    fn trial_reason(&mut self, now: Instant, traffic: &Traffic) -> Option<(Way, TrialReason)> {
        self.moves.retain(|at| now.saturating_duration_since(*at) < MOVES_WINDOW);
        if self.moves.len() >= MOVES_MAX {
            return None;
        }
        let session = self.session.as_ref()?;
        let others = self.ways.iter().filter(|way| **way != session.way);
        others.copied().find_map(|way| Some((way, self.reason_to_try(way, session, now, traffic)?)))
    }

    fn reason_to_try(
        &self,
        way: Way,
        session: &InUse,
        now: Instant,
        traffic: &Traffic,
    ) -> Option<TrialReason> {
        let is_loaded = traffic.in_use.is_loaded;
        let plateau = session.meter.plateau().filter(|_| is_loaded);
        let state = self.states.get(way);
        let best = self.ways.iter().filter_map(|way| self.states.get(*way).shown(now)).fold(0.0, f64::max);
        if plateau.is_some_and(|rate| rate < FAR_BELOW * best) && state.rests.has_rested_once(now) {
            return Some(TrialReason::BelowKnown);
        }
        if state.rests.is_resting(now) {
            return None;
        }
        if way < session.way {
            let needs_body = state.rests.current().is_none_or(|rest| rest.cause == RestCause::PoorGoodput);
            let may_begin = plateau.is_some() || self.lost_race(way) || (!is_loaded && !needs_body);
            return may_begin.then_some(TrialReason::RestOver);
        }
        let is_unknown = state.shown(now).is_none();
        let is_flat = plateau.is_some() || (traffic.loss.is_some() && session.meter.flat().is_some());
        let may_be_policed = session.way == Way::Quic && traffic.loss.is_none_or(|loss| loss >= HIGH_LOSS);
        if is_loaded && is_flat && may_be_policed && (is_unknown || state.rests.is_first_lost_trial()) {
            return Some(TrialReason::MayBePoliced);
        }
        let is_long = plateau.is_some() && session.meter.loaded() >= FIRST_LOOK_AFTER;
        (is_unknown && is_long).then_some(TrialReason::FirstLook)
    }
}
