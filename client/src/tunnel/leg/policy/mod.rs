//! Decides which leg to one server is dialed, tried and used.
//!
//! Must never leave a working leg for a guess: it moves only to a session that is up, and, if bodies are under way,
//! has shown its goodput.

mod leg_state;
#[cfg(test)]
mod tests;

use super::goodput::{Carried, GoodputMeter};
use super::knowledge::Knowledge;
use super::reason::{TrialReason, UseReason};
use super::rest::RestCause;
use super::strikes::Strikes;
use super::trial::{Carriers, Progress, Trial};
use super::way::{Way, Ways};
use super::{Leg, LegChoice, PerLeg, other};
use leg_state::LegState;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long after the first leg the second one is dialed, if no round trip is known: a QUIC handshake of 200 ms is
/// answered by then, and TCP's three round trips still end within a second.
const HEAD_START_FIRST: Duration = Duration::from_millis(250);

/// The least head start of the first leg: what a busy machine takes for a handshake.
const HEAD_START_MIN: Duration = Duration::from_millis(100);

/// The longest one. Longer round trips were not seen on a path that works.
const HEAD_START_MAX: Duration = Duration::from_secs(1);

/// The same after a session was lost that had worked: the first packet of a handshake is sent again after 0.3 s, and is
/// answered a round trip later, when TCP still needs another one. So one lost packet is no reason to leave a leg.
const HEAD_START_AFTER_LOSS: Duration = Duration::from_millis(300);

/// A plateau below this part of what the path has shown is a reason for a trial. Pulls from one registry vary by a
/// third from one to the next; a policer or a broken route takes more than half.
const FAR_BELOW: f64 = 0.5;

/// Loss under load that is a reason to look at a leg that was never measured, and so is loss that nobody knows. Behind
/// a policer, 12 % of what is sent is lost (20 of 100 Mbit/s). What a link loses by chance doesn't count: the server
/// leaves it out, since QUIC fills such a link, and a trial within the first seconds costs a quarter of a pull of 20 s.
/// What remains of a second is 4 % at most on links with up to 15 % loss, also in bursts, and mostly 5 to 30 % behind
/// the policer.
const HIGH_LOSS: f64 = 0.05;

/// Load after which a leg that was never measured is looked at without loss, since a shaper need not drop anything, and
/// looks like a slow line. A trial moves bytes that would come anyway; should it still cost half a second, that is 2 %
/// of this, once a day.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(25);

/// Moves that measurement may cause in [`MOVES_WINDOW`]. Those of a leg that broke count, and are never prevented.
const MOVES_MAX: usize = 2;

/// The time over which moves are counted.
const MOVES_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Bytes after which a session on a leg that came back without a trial has proven itself: more than any filter lets
/// through that stops flows at their beginning.
const PROBATION_BYTES: u64 = 1024 * 1024;

/// The legs to dial, the second only if the first is not up by then. It is dialed at once if the first fails in any
/// way, also by an answer that is an error. The first session with a Welcome is used, and the other attempt dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialOrder {
    /// Dialed at once.
    pub first: Leg,
    /// The other leg, and how much later.
    pub second: Option<(Leg, Duration)>,
}

/// How a session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLoss {
    /// Its handshake succeeded, and then there was no Welcome.
    Unanswered,
    /// It became silent or failed: its leg may be to blame.
    Broke,
    /// Its server or this client ended it.
    Ended,
}

/// What the sessions have carried, and what is known about their path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// By the session in use.
    pub in_use: Carried,
    /// By the session on trial.
    pub on_trial: Carried,
    /// The part of what the server sent lately that was lost since it sent too much, if it is known.
    pub loss: Option<f64>,
    /// The round-trip time.
    pub rtt: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// Dial the other leg beside the one in use, from a fresh port. Report `beside_up` after its Welcome, or
    /// `beside_failed`.
    DialBeside(Leg, TrialReason),
    /// Request new parts of large bodies on these sessions.
    Carry(Carriers),
    /// Use the session that was dialed beside, and close the other.
    MoveTo(Leg, UseReason),
    /// Close the session that was dialed beside.
    CloseBeside,
}

/// The policy for one server on one network.
#[derive(Debug)]
pub struct LegPolicy {
    choice: LegChoice,
    legs: PerLeg<LegState>,
    preferred: Leg,
    /// The leg of the last session.
    last_used: Option<Leg>,
    why: UseReason,
    session: Option<InUse>,
    beside: Beside,
    strikes: Strikes,
    ways: Ways,
    /// When the leg in use changed, lately.
    moves: VecDeque<Instant>,
    rtt: Option<Duration>,
}

#[derive(Debug)]
struct InUse {
    leg: Leg,
    since: Instant,
    meter: GoodputMeter,
    /// Whether its leg came back without a trial, and has carried little since.
    is_on_probation: bool,
}

/// What there is beside the session in use.
#[derive(Debug)]
enum Beside {
    Nothing,
    /// The attempt of the race goes on.
    Racing,
    /// The other leg is dialed, and the goodput of the one in use was this before, if it had load.
    Dialing(Option<f64>),
    Trial(Box<Trial>),
}

impl LegPolicy {
    /// The policy for a server of which this is known.
    #[must_use]
    pub fn new(choice: LegChoice, known: &Knowledge, now: Instant) -> Self {
        let preferred = match choice {
            LegChoice::Auto => known.preferred,
            LegChoice::Only(leg) => leg,
        };
        let legs = PerLeg { quic: LegState::of(&known.quic, now), tcp: LegState::of(&known.tcp, now) };
        Self {
            choice,
            legs,
            preferred,
            last_used: None,
            why: UseReason::Preferred,
            session: None,
            beside: Beside::Nothing,
            strikes: Strikes::default(),
            ways: Ways::default(),
            moves: VecDeque::new(),
            rtt: None,
        }
    }

    /// What is known now.
    #[must_use]
    pub fn knowledge(&self, now: Instant) -> Knowledge {
        let [quic, tcp] = [Leg::Quic, Leg::Tcp].map(|leg| self.legs.get(leg).knowledge(now));
        Knowledge { preferred: self.preferred, quic, tcp }
    }

    /// The leg in use, and why.
    #[must_use]
    pub fn in_use(&self) -> Option<(Leg, UseReason)> {
        let leg = self.session.as_ref()?.leg;
        Some((leg, if self.choice == LegChoice::Auto { self.why } else { UseReason::Set }))
    }

    /// Whether the leg rests, for how long, and why.
    #[must_use]
    pub fn rest(&self, leg: Leg, now: Instant) -> Option<(Duration, RestCause)> {
        let rest = self.legs.get(leg).rests.current()?;
        Some((rest.until.saturating_duration_since(now), rest.cause))
    }

    /// The legs to dial while no session is up, or beside one that is silent: then as if it were lost so now.
    #[must_use]
    pub fn dial_order(&self, loss: SessionLoss, now: Instant) -> DialOrder {
        let is_left = self.session.as_ref().is_some_and(|session| self.would_leave(session, loss, now));
        let first = if is_left { other(self.preferred) } else { self.preferred };
        let head_start = match (self.last_used, self.rtt) {
            (Some(_), _) => HEAD_START_AFTER_LOSS,
            (None, Some(rtt)) => rtt.clamp(HEAD_START_MIN, HEAD_START_MAX),
            (None, None) => HEAD_START_FIRST,
        };
        let second = (self.choice == LegChoice::Auto).then_some((other(first), head_start));
        DialOrder { first, second }
    }

    /// The way of the TCP leg to dial first, if there are two.
    #[must_use]
    pub fn first_way(&self, now: Instant) -> Way {
        self.ways.first(now)
    }

    /// A TCP session came up on this way, for use or for a trial.
    pub fn came_by(&mut self, way: Way) {
        self.ways.up(way);
    }

    /// A session of this leg is up and in use: the first one that [`dial_order`](Self::dial_order) led to.
    pub fn up(&mut self, leg: Leg, now: Instant) {
        if leg != self.preferred {
            self.legs.get_mut(self.preferred).rests.lost_race(now);
            self.why = UseReason::FirstUp;
        } else if self.last_used != Some(leg) && self.why != UseReason::OtherBroke {
            self.why = UseReason::Preferred;
        }
        self.use_leg(leg, now, false);
    }

    /// Whether QUIC's attempt, which lost the race that led to the session in use, goes on beside it: lost packets may
    /// have delayed it. Report `beside_up` after its Welcome, or `beside_failed`.
    pub fn race_goes_on(&mut self) -> bool {
        let goes_on =
            self.lost_race(Leg::Quic) && self.session.as_ref().is_some_and(|session| session.leg == Leg::Tcp);
        if goes_on {
            self.beside = Beside::Racing;
        }
        goes_on
    }

    fn lost_race(&self, leg: Leg) -> bool {
        self.legs.get(leg).rests.current().is_some_and(|rest| rest.cause == RestCause::LostRace)
    }

    /// The session in use was lost. What was dialed beside it is to be dropped. `random` is from 0 to 1.
    pub fn lost(&mut self, loss: SessionLoss, now: Instant, random: f64) {
        let Some(session) = self.session.take() else { return };
        self.beside = Beside::Nothing;
        let is_left = loss != SessionLoss::Ended && self.would_leave(&session, loss, now);
        let rests = &mut self.legs.get_mut(session.leg).rests;
        rests.was_used(now.saturating_duration_since(session.since));
        if is_left {
            rests.begin(now, RestCause::PoorGoodput, random);
            self.preferred = other(session.leg);
            self.why = UseReason::OtherBroke;
        }
        if loss != SessionLoss::Ended && session.meter.is_loaded() {
            self.strikes.add(now, session.meter.received());
            if session.leg == Leg::Tcp {
                self.ways.broke(session.meter.received(), now, random);
            }
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
                let (leg, reason) = self.trial_reason(now, &traffic)?;
                let meter = &self.session.as_ref()?.meter;
                let goodput = meter.plateau().or(meter.flat()).filter(|_| meter.is_loaded());
                self.beside = Beside::Dialing(goodput);
                Some(Instruction::DialBeside(leg, reason))
            }
            Beside::Racing | Beside::Dialing(_) => None,
            Beside::Trial(trial) => {
                let progress = trial.observe(now, traffic.in_use, traffic.on_trial, traffic.rtt);
                self.conclude(progress, now, random)
            }
        }
    }

    /// The leg that was dialed beside is up.
    pub fn beside_up(&mut self, now: Instant) -> Option<Instruction> {
        let session = self.session.as_ref()?;
        let before = match self.beside {
            Beside::Racing => None,
            Beside::Dialing(before) => before,
            Beside::Nothing | Beside::Trial(_) => return None,
        };
        let leg = other(session.leg);
        let is_loaded = session.meter.is_loaded();
        // The start of a body says little, but nothing speaks against a leg that came up late.
        let begun = || self.lost_race(leg).then(|| session.meter.recent().unwrap_or_default());
        let of_body = || session.meter.plateau().or_else(begun).filter(|_| is_loaded);
        // The trial waits for the next body if this one has just ended.
        let plateau = of_body().or(before);
        let rests = &mut self.legs.get_mut(leg).rests;
        let was_unreachable = rests.current().is_some_and(|rest| rest.cause != RestCause::PoorGoodput);
        match plateau {
            Some(baseline) => {
                self.beside = Beside::Trial(Box::new(Trial::new(leg, baseline, now)));
                Some(Instruction::Carry(Carriers::Both))
            }
            // It was left since it did not come up, and now it does. No body is disturbed.
            None if was_unreachable && !is_loaded => {
                self.why = UseReason::ReachableAgain;
                self.use_leg(leg, now, true);
                Some(Instruction::MoveTo(leg, UseReason::ReachableAgain))
            }
            None => {
                rests.inconclusive(now);
                self.beside = Beside::Nothing;
                Some(Instruction::CloseBeside)
            }
        }
    }

    /// The leg that was dialed beside did not come up, or the session on trial was lost.
    pub fn beside_failed(&mut self, now: Instant, random: f64) {
        let Some(leg) = self.session.as_ref().map(|session| other(session.leg)) else { return };
        match std::mem::replace(&mut self.beside, Beside::Nothing) {
            // After a race, a fresh port decides.
            Beside::Nothing | Beside::Racing => {}
            Beside::Dialing(_) => self.legs.get_mut(leg).rests.begin(now, RestCause::Unreachable, random),
            Beside::Trial(_) => self.legs.get_mut(leg).rests.begin(now, RestCause::PoorGoodput, random),
        }
    }

    /// Whether the leg is left if its session is lost so. One that carried nothing has not shown a filter.
    fn would_leave(&self, session: &InUse, loss: SessionLoss, now: Instant) -> bool {
        let strikes_out =
            || session.meter.is_loaded() && self.strikes.would_leave(now, session.meter.received());
        let is_to_blame = loss == SessionLoss::Unanswered || session.is_on_probation || strikes_out();
        self.choice == LegChoice::Auto && is_to_blame
    }

    fn conclude(&mut self, progress: Progress, now: Instant, random: f64) -> Option<Instruction> {
        if progress == Progress::Continues {
            return None;
        }
        if progress == Progress::CloserLook {
            return Some(Instruction::Carry(Carriers::TrialOnly));
        }
        let Beside::Trial(trial) = std::mem::replace(&mut self.beside, Beside::Nothing) else { return None };
        let leg = trial.leg();
        let mut shows = leg == Leg::Tcp;
        if let Some(session) = &mut self.session {
            // The start of a body shows nothing of TCP.
            shows |= session.meter.plateau().is_some();
            // It has shared the path.
            session.meter.clear();
        }
        match progress {
            Progress::Won(rate) => {
                self.legs.get_mut(leg).show(rate, now);
                if shows {
                    self.legs.get_mut(other(leg)).show(trial.baseline(), now);
                }
                if leg == Leg::Tcp {
                    // QUIC is tried again. TCP needs a reason.
                    self.rest_after_use(other(leg), now, random);
                }
                self.why = UseReason::BetterGoodput;
                self.use_leg(leg, now, false);
                return Some(Instruction::MoveTo(leg, UseReason::BetterGoodput));
            }
            Progress::Lost(rate) => {
                if leg == Leg::Tcp && rate.is_none() {
                    self.ways.broke(trial.received(), now, random);
                }
                let state = self.legs.get_mut(leg);
                state.rests.lost_trial(now, random);
                // A leg that stops has shown nothing, and is tried again after its rest.
                state.forget_goodput();
                if let Some(rate) = rate {
                    state.show(rate, now);
                }
                // The path carries no more at present, whatever it has shown before.
                self.legs.get_mut(other(leg)).show(trial.baseline(), now);
            }
            Progress::Inconclusive | Progress::Continues | Progress::CloserLook => {
                self.legs.get_mut(leg).rests.inconclusive(now);
            }
        }
        Some(Instruction::CloseBeside)
    }

    fn rest_after_use(&mut self, leg: Leg, now: Instant, random: f64) {
        let used = self
            .session
            .as_ref()
            .map_or(Duration::ZERO, |session| now.saturating_duration_since(session.since));
        let rests = &mut self.legs.get_mut(leg).rests;
        rests.was_used(used);
        rests.begin(now, RestCause::PoorGoodput, random);
    }

    fn use_leg(&mut self, leg: Leg, now: Instant, is_on_probation: bool) {
        if self.last_used.replace(leg).is_some_and(|last| last != leg) {
            self.moves.push_back(now);
            self.strikes.clear();
        }
        self.beside = Beside::Nothing;
        self.preferred = leg;
        self.legs.get_mut(leg).rests.end();
        self.session = Some(InUse { leg, since: now, meter: GoodputMeter::default(), is_on_probation });
    }

    /// Records the goodput of the leg in use, if it is the best that is known, or the last that was known is old.
    fn remember_goodput(&mut self, now: Instant) {
        let Some(session) = &self.session else { return };
        let Some(rate) = session.meter.plateau() else { return };
        let state = self.legs.get_mut(session.leg);
        if state.shown(now).is_none_or(|shown| rate >= shown) {
            state.show(rate, now);
        }
    }

    /// Why the other leg is to be tried now, if it is.
    fn trial_reason(&mut self, now: Instant, traffic: &Traffic) -> Option<(Leg, TrialReason)> {
        let session = self.session.as_ref().filter(|_| self.choice == LegChoice::Auto)?;
        self.moves.retain(|at| now.saturating_duration_since(*at) < MOVES_WINDOW);
        if self.moves.len() >= MOVES_MAX {
            return None;
        }
        let is_loaded = traffic.in_use.is_loaded;
        let may_be_policed = traffic.loss.is_none_or(|loss| loss >= HIGH_LOSS);
        let plateau = session.meter.plateau().filter(|_| is_loaded);
        let leg = other(session.leg);
        let other = self.legs.get(leg);
        let shown = [Leg::Quic, Leg::Tcp].map(|leg| self.legs.get(leg).shown(now).unwrap_or_default());
        let best = shown[0].max(shown[1]);
        if plateau.is_some_and(|rate| rate < FAR_BELOW * best) && other.rests.has_rested_once(now) {
            return Some((leg, TrialReason::BelowKnown));
        }
        if other.rests.is_resting(now) {
            return None;
        }
        let reason = match leg {
            Leg::Quic => {
                let needs_body =
                    other.rests.current().is_none_or(|rest| rest.cause == RestCause::PoorGoodput);
                let may_begin = plateau.is_some() || self.lost_race(leg) || (!is_loaded && !needs_body);
                may_begin.then_some(TrialReason::RestOver)
            }
            Leg::Tcp => {
                let is_unknown = other.shown(now).is_none();
                let is_flat = plateau.is_some() || (traffic.loss.is_some() && session.meter.flat().is_some());
                if is_loaded && is_flat && may_be_policed && (is_unknown || other.rests.is_first_lost_trial())
                {
                    Some(TrialReason::MayBePoliced)
                } else {
                    let is_long = plateau.is_some() && session.meter.loaded() >= FIRST_LOOK_AFTER;
                    (is_unknown && is_long).then_some(TrialReason::FirstLook)
                }
            }
        };
        reason.map(|reason| (leg, reason))
    }
}
