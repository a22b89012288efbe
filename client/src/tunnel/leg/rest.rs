//! How long a leg is left alone that was worse, or that did not respond.

use docxy_protocol::backoff::{Backoff, Schedule};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The first rest. With its jitter, the next pull and the trial, QUIC is back less than ten minutes after UDP was
/// opened again. A trial may cost two seconds of the line, so one in eight minutes costs less than half a percent.
const REST_FIRST: Duration = Duration::from_secs(8 * 60);

/// The longest rest: a network that polices UDP in the evening is tried again during the night.
pub const REST_MAX: Duration = Duration::from_secs(4 * 3600);

/// Each rest is twice as long as the one before, so the longest comes after half a day of failed trials.
const REST_SCHEDULE: Schedule = Schedule::exponential(REST_FIRST, 2.0, REST_MAX);

/// The rest after the first trial that is lost. A machine that was busy for its five seconds is idle again by then, and a
/// body that takes a minute on a policed leg gets a second trial. Its result counts.
const REST_BEFORE_SECOND_TRIAL: Duration = Duration::from_secs(10);

/// The rest after a trial without a result, since the bodies ended ten seconds ago. The next pull may be long enough.
const REST_INCONCLUSIVE: Duration = Duration::from_secs(10);

/// The rest of a leg that lost a race, until it is dialed from a fresh port. One lost packet of a handshake delays it
/// by 0.3 s, and two by 0.9 s: after 5 s, chance is over, and so are most outages.
const REST_AFTER_RACE: Duration = Duration::from_secs(5);

/// How long a leg must have carried sessions until its next rest is a first one again: as long as moves are counted.
const STEADY_USE: Duration = Duration::from_secs(30 * 60);

/// Why a leg rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestCause {
    /// The other leg came up first.
    LostRace,
    /// It did not come up from a fresh port either.
    Unreachable,
    /// It comes up, but large bodies are slower on it, or stop.
    PoorGoodput,
}

/// A rest. It stays after its end, as the reason of the next attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    pub(super) begun: Instant,
    pub(super) until: Instant,
    pub(super) cause: RestCause,
}

/// The rests of one leg.
#[derive(Debug)]
pub(super) struct Rests {
    backoff: Backoff,
    current: Option<Rest>,
}

impl Default for Rests {
    fn default() -> Self {
        Self { backoff: Backoff::new(REST_SCHEDULE), current: None }
    }
}

impl Rests {
    /// The rests of an earlier run.
    pub(super) fn restored(rest: Option<(Duration, RestCause)>, count: u32, now: Instant) -> Self {
        let mut rests = Self::default();
        // Later ones are all as long as the longest.
        for _ in 0..count.min(16) {
            rests.backoff.next_delay(Duration::ZERO, 1.0);
        }
        rests.current = rest.map(|(left, cause)| Rest { begun: now, until: now + left.min(REST_MAX), cause });
        rests
    }

    /// The leg rests, longer than last time.
    pub(super) fn begin(&mut self, now: Instant, cause: RestCause, random: f64) {
        let length = self.backoff.next_delay(Duration::ZERO, random);
        self.current = Some(Rest { begun: now, until: now + length, cause });
    }

    /// The leg lost a trial. The first one may have been bad luck.
    pub(super) fn lost_trial(&mut self, now: Instant, random: f64) {
        self.begin(now, RestCause::PoorGoodput, random);
        if let Some(rest) = self.current.as_mut().filter(|_| self.backoff.retries() == 1) {
            rest.until = now + REST_BEFORE_SECOND_TRIAL;
        }
    }

    /// Whether the leg has lost one trial since it was last in steady use, and nothing else kept it from use.
    pub(super) fn is_first_lost_trial(&self) -> bool {
        self.count() == 1 && self.current.is_some_and(|rest| rest.cause == RestCause::PoorGoodput)
    }

    /// The leg lost a race, so a fresh port decides. A leg that rests already goes on doing so.
    pub(super) fn lost_race(&mut self, now: Instant) {
        if self.current.is_none() {
            let until = now + REST_AFTER_RACE;
            self.current = Some(Rest { begun: now, until, cause: RestCause::LostRace });
        }
    }

    /// A trial had no result. The cause stays, if there is one.
    pub(super) fn inconclusive(&mut self, now: Instant) {
        let cause = self.current.map_or(RestCause::PoorGoodput, |rest| rest.cause);
        self.current = Some(Rest { begun: now, until: now + REST_INCONCLUSIVE, cause });
    }

    /// The leg is in use.
    pub(super) const fn end(&mut self) {
        self.current = None;
    }

    /// The leg was in use for this long.
    pub(super) fn was_used(&mut self, time: Duration) {
        if time >= STEADY_USE {
            self.backoff.reset();
        }
    }

    pub(super) const fn current(&self) -> Option<Rest> {
        self.current
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.current.is_some_and(|rest| now < rest.until)
    }

    /// Whether the leg has rested as long as after a first failure.
    pub(super) fn has_rested_once(&self, now: Instant) -> bool {
        self.current.is_none_or(|rest| now >= rest.until.min(rest.begun + REST_FIRST))
    }

    /// The rests since the leg was last in steady use.
    pub(super) const fn count(&self) -> u32 {
        self.backoff.retries()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_rest_is_longer_and_steady_use_begins_again() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        let mut minutes = || {
            rests.begin(now, RestCause::PoorGoodput, 1.0);
            let rest = rests.current().unwrap();
            rest.until.duration_since(now).as_secs() / 60
        };
        assert_eq!([(); 7].map(|()| minutes()), [8, 16, 32, 64, 128, 240, 240]);
        rests.was_used(STEADY_USE - Duration::from_secs(1));
        assert_eq!(rests.count(), 7);
        rests.was_used(STEADY_USE);
        assert_eq!(rests.count(), 0);
    }

    #[test]
    fn a_lost_race_does_not_shorten_a_rest() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        rests.lost_race(now);
        assert!(rests.is_resting(now) && !rests.is_resting(now + REST_AFTER_RACE));
        rests.begin(now, RestCause::Unreachable, 1.0);
        rests.lost_race(now);
        assert!(rests.is_resting(now + REST_AFTER_RACE));
    }

    proptest! {
        #[test]
        fn a_restored_rest_ends(left: u32, count: u32, random in 0.0..=1.0) {
            let now = Instant::now();
            let left = Duration::from_secs(left.into());
            let mut rests = Rests::restored(Some((left, RestCause::PoorGoodput)), count, now);
            prop_assert!(!rests.is_resting(now + REST_MAX));
            rests.begin(now, RestCause::Unreachable, random);
            prop_assert!(rests.is_resting(now) && !rests.is_resting(now + REST_MAX));
        }
    }
}
