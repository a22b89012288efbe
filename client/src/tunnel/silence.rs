//! When a connection has gone silent. A pure function of what was counted and of the time, so that
//! the policy can be tested as such.
//!
//! A path that is gone says nothing; neither does one that has nothing to say. The difference is
//! whether something waits for an acknowledgement.

use std::time::{Duration, Instant, SystemTime};

/// How often to look.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// The shortest silence that counts, unless the round trip asks for more: a few probe timeouts, so
/// that a burst of losses isn't taken for it.
const SHORTEST: Duration = Duration::from_millis(2500);

/// Round trips of silence that count on a slow line.
const ROUND_TRIPS: u32 = 6;

/// How far the clocks may be apart, or a look may be late, before the machine has slept.
const JUMP: Duration = Duration::from_secs(5);

/// What a connection has counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Datagrams received.
    pub(super) heard: u64,
    /// Frames sent that have to be acknowledged.
    pub(super) asked: u64,
}

/// Why a connection is suspected to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// What was sent isn't acknowledged.
    Silent(Duration),
    /// The machine was asleep, and much may have changed meanwhile.
    Slept(Duration),
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Silence {
    counts: Counts,
    /// Since when something waits for an acknowledgement while nothing at all comes.
    unanswered: Option<Instant>,
    looked: (Instant, SystemTime),
}

impl Silence {
    pub(super) fn new(counts: Counts, now: Instant, wall: SystemTime) -> Self {
        Self { counts, unanswered: None, looked: (now, wall) }
    }

    /// Looks, at the time `now` that stands still while the machine sleeps, and `wall` that doesn't.
    pub(super) fn look(
        &mut self,
        counts: Counts,
        round_trip: Duration,
        now: Instant,
        wall: SystemTime,
    ) -> Option<Suspicion> {
        let (then, wall_then) = std::mem::replace(&mut self.looked, (now, wall));
        let late = now.saturating_duration_since(then);
        let late = late.max(wall.duration_since(wall_then).unwrap_or_default());
        let before = std::mem::replace(&mut self.counts, counts);
        if counts.heard != before.heard {
            self.unanswered = None;
        } else if counts.asked != before.asked {
            self.unanswered = self.unanswered.or(Some(now));
        }
        if late >= JUMP {
            return Some(Suspicion::Slept(late));
        }
        let silent = now.saturating_duration_since(self.unanswered?);
        (silent >= SHORTEST.max(round_trip * ROUND_TRIPS)).then_some(Suspicion::Silent(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    /// A connection that is looked at every `LOOK`.
    struct Watched {
        silence: Silence,
        counts: Counts,
        now: Instant,
        wall: SystemTime,
    }

    impl Watched {
        fn new() -> Self {
            let (now, wall) = (Instant::now(), SystemTime::now());
            let counts = Counts { heard: 10, asked: 10 };
            Self { silence: Silence::new(counts, now, wall), counts, now, wall }
        }

        /// For so many milliseconds, with so many datagrams heard and frames asked at each look.
        fn run(&mut self, ms: u64, heard: u64, asked: u64, rtt: Duration) -> Option<Suspicion> {
            (0..ms / 200).find_map(|_| {
                self.now += LOOK;
                self.wall += LOOK;
                self.counts.heard += heard;
                self.counts.asked += asked;
                self.silence.look(self.counts, rtt, self.now, self.wall)
            })
        }
    }

    #[test]
    fn silence_counts_only_while_something_waits_for_an_acknowledgement() {
        let mut watched = Watched::new();
        assert_eq!(watched.run(60_000, 0, 0, RTT), None, "nobody has anything to say");
        assert_eq!(watched.run(60_000, 1, 1, RTT), None, "a transfer");
        assert_eq!(watched.run(200, 0, 1, RTT), None);
        assert_eq!(watched.run(2400, 0, 0, RTT), None);
        let suspicion = watched.run(200, 0, 0, RTT);
        assert!(matches!(suspicion, Some(Suspicion::Silent(silent)) if silent >= SHORTEST), "{suspicion:?}");
        assert_eq!(watched.run(200, 1, 0, RTT), None, "it is back");
        assert_eq!(watched.run(60_000, 0, 0, RTT), None);
    }

    #[test]
    fn asking_again_and_again_does_not_put_it_off() {
        let mut watched = Watched::new();
        assert_eq!(watched.run(2400, 0, 1, RTT), None);
        assert!(watched.run(400, 0, 1, RTT).is_some());
    }

    #[test]
    fn a_slow_line_is_given_more_time() {
        let mut watched = Watched::new();
        let slow = Duration::from_secs(1);
        assert_eq!(watched.run(6000, 0, 1, slow), None);
        assert!(watched.run(400, 0, 1, slow).is_some());
    }

    #[test]
    fn a_machine_that_slept_has_a_look_at_once() {
        for (mono, wall) in [(LOOK, Duration::from_secs(3600)), (JUMP, JUMP)] {
            let mut watched = Watched::new();
            watched.now += mono;
            watched.wall += wall;
            let suspicion = watched.silence.look(watched.counts, RTT, watched.now, watched.wall);
            assert_eq!(suspicion, Some(Suspicion::Slept(wall)));
            assert_eq!(watched.run(10_000, 0, 0, RTT), None, "once");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_is_nothing() {
        let mut watched = Watched::new();
        watched.wall -= Duration::from_secs(3600);
        assert_eq!(watched.run(1000, 0, 0, RTT), None);
    }
}
