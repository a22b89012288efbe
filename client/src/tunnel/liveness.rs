//! Whether a connection is dead. A pure function of counters and time, so that tests need no network.
//!
//! A dead path delivers nothing, and an idle one neither. The difference is whether a sent frame waits for an
//! acknowledgement.

use docxy_transport::Path;
use std::time::{Duration, Instant, SystemTime};

/// The time between two polls.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The shortest silence that counts, if the round trip is short: a few probe timeouts, so that a burst of
/// losses does not count.
const SILENCE_MIN: Silence = Silence { time: Duration::from_millis(2500), round_trips: 6 };

/// The same if another server shows that the network is up: then little is lost by a move that was not necessary. Lost
/// packets are sent again after 0.3 and 0.9 s.
const SILENCE_MIN_WITH_REPLACEMENT: Silence = Silence { time: Duration::from_millis(1200), round_trips: 4 };

/// The same since the last datagram, if data arrived until then. A path with load has a datagram each millisecond, so
/// chance is over after a few round trips. Some mobile networks stall for seconds, and then nothing is lost either: the
/// next session is dialed beside this one, which goes on if it is heard first.
const SILENCE_MIN_UNDER_LOAD: Silence = Silence { time: Duration::from_millis(1000), round_trips: 4 };

/// The same on a session whose server has not responded to the Hello. Only the response of a filtered path takes so
/// long, and it may still come while the other leg is dialed.
const SILENCE_MIN_BEFORE_WELCOME: Silence = Silence { time: Duration::from_millis(1000), round_trips: 3 };

/// How long a frame must have waited for its acknowledgement then: the round trip of a probe.
const ACKNOWLEDGEMENT_MIN: Silence = Silence { time: Duration::from_millis(400), round_trips: 2 };

/// After this much of the silence, it matters whether there is a replacement.
const REPLACEMENT_CHECK: Duration = Duration::from_millis(500);

/// A connection on which a request runs, and on which nothing arrives for so long, is probed: a server that waits for
/// its registry responds, and one that has died does not. The first silence after data.
const QUIET_MIN: Silence = Silence { time: Duration::from_millis(400), round_trips: 2 };

/// The same after further silences. The keep-alive pings do the rest.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Datagrams between two polls that show that data flow again.
const FLOWING_DATAGRAMS_MIN: u64 = 10;

/// A gap between two polls, on either clock, from which the machine has slept.
const CLOCK_JUMP: Duration = Duration::from_secs(5);

/// A time without datagrams: the longer of these.
#[derive(Debug, Clone, Copy)]
struct Silence {
    time: Duration,
    round_trips: u32,
}

impl Silence {
    fn on(self, path: Path) -> Duration {
        self.time.max(path.rtt * self.round_trips)
    }
}

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Alive,
    /// The peer is to acknowledge something.
    Probe,
    /// Replace it.
    Suspect(Suspicion),
}

/// Why a connection is suspected to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Sent frames are not acknowledged.
    Silent(Duration),
    /// The machine has slept, so the network may have changed.
    Slept(Duration),
}

/// What a connection is to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The response to its Hello.
    Welcome,
    /// Those of its requests.
    Data,
    /// It is idle.
    Nothing,
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct LivenessMonitor {
    path: Path,
    /// When a datagram arrived last.
    heard: Instant,
    /// When data flowed last.
    flowed: Option<Instant>,
    /// Since when a sent frame waits for an acknowledgement while no datagram arrives.
    unacknowledged_since: Option<Instant>,
    /// The silence after which it is probed.
    quiet: Duration,
    last_poll: (Instant, SystemTime),
}

impl LivenessMonitor {
    pub(super) fn new(path: Path, now: Instant, wall: SystemTime) -> Self {
        let quiet = QUIET_MIN.time;
        Self { path, heard: now, flowed: None, unacknowledged_since: None, quiet, last_poll: (now, wall) }
    }

    /// When a datagram arrived last, as far as the polls show.
    pub(super) const fn heard(&self) -> Instant {
        self.heard
    }

    /// Compares the counters with those of the last poll. `has_replacement` says whether another server was heard since then. `now` stops while the machine sleeps, `wall`
    /// does not.
    pub(super) fn poll(
        &mut self,
        path: Path,
        awaits: Awaits,
        has_replacement: impl FnOnce(Instant) -> bool,
        (now, wall): (Instant, SystemTime),
    ) -> Verdict {
        let (then, wall_then) = std::mem::replace(&mut self.last_poll, (now, wall));
        let elapsed = now.saturating_duration_since(then);
        let elapsed = elapsed.max(wall.duration_since(wall_then).unwrap_or_default());
        let before = std::mem::replace(&mut self.path, path);
        let received = path.datagrams_received.saturating_sub(before.datagrams_received);
        let is_flowing = received >= FLOWING_DATAGRAMS_MIN;
        if awaits != Awaits::Data || is_flowing {
            self.quiet = QUIET_MIN.time;
        }
        if is_flowing {
            self.flowed = Some(now);
        }
        if received > 0 {
            (self.heard, self.unacknowledged_since) = (now, None);
        } else if path.ack_eliciting_sent != before.ack_eliciting_sent {
            self.unacknowledged_since = self.unacknowledged_since.or(Some(now));
        }
        if elapsed >= CLOCK_JUMP {
            return Verdict::Suspect(Suspicion::Slept(elapsed));
        }
        let unheard = now.saturating_duration_since(self.heard);
        if awaits == Awaits::Welcome && unheard >= SILENCE_MIN_BEFORE_WELCOME.on(path) {
            return Verdict::Suspect(Suspicion::Silent(unheard));
        }
        let Some(since) = self.unacknowledged_since else { return self.probe_if_quiet(awaits, now) };
        let silent = now.saturating_duration_since(since);
        // The last poll with data may have seen few of them.
        let has_flowed = |flowed: Instant| self.heard.saturating_duration_since(flowed) <= 2 * POLL_INTERVAL;
        let counts = silent >= SILENCE_MIN.on(path)
            || (awaits == Awaits::Data
                && self.flowed.is_some_and(has_flowed)
                && unheard >= SILENCE_MIN_UNDER_LOAD.on(path)
                && silent >= ACKNOWLEDGEMENT_MIN.on(path))
            || (silent >= REPLACEMENT_CHECK
                && has_replacement(since)
                && silent >= SILENCE_MIN_WITH_REPLACEMENT.on(path));
        if counts { Verdict::Suspect(Suspicion::Silent(silent)) } else { Verdict::Alive }
    }

    fn probe_if_quiet(&mut self, awaits: Awaits, now: Instant) -> Verdict {
        let limit = Silence { time: self.quiet, ..QUIET_MIN }.on(self.path);
        if awaits != Awaits::Data || now.saturating_duration_since(self.heard) < limit {
            return Verdict::Alive;
        }
        self.quiet = (self.quiet * 2).min(QUIET_MAX);
        Verdict::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    /// A connection that is looked at every `POLL_INTERVAL`.
    struct Watched {
        liveness: LivenessMonitor,
        has_replacement: bool,
        awaits: Awaits,
        probes: usize,
        path: Path,
        now: Instant,
        wall: SystemTime,
    }

    impl Watched {
        fn new() -> Self {
            let (now, wall) = (Instant::now(), SystemTime::now());
            let path = Path { rtt: RTT, datagrams_received: 10, ack_eliciting_sent: 10, ..Path::default() };
            let liveness = LivenessMonitor::new(path, now, wall);
            Self { liveness, has_replacement: false, awaits: Awaits::Nothing, probes: 0, path, now, wall }
        }

        /// Runs for this time, with this much traffic before each poll.
        fn run(
            &mut self,
            ms: u64,
            datagrams_received: u64,
            ack_eliciting_sent: u64,
            rtt: Duration,
        ) -> Option<Suspicion> {
            self.path.rtt = rtt;
            (0..ms / 200).find_map(|_| {
                self.now += POLL_INTERVAL;
                self.wall += POLL_INTERVAL;
                self.path.datagrams_received += datagrams_received;
                self.path.ack_eliciting_sent += ack_eliciting_sent;
                match self.poll() {
                    Verdict::Alive => None,
                    Verdict::Probe => {
                        self.probes += 1;
                        None
                    }
                    Verdict::Suspect(suspicion) => Some(suspicion),
                }
            })
        }

        fn poll(&mut self) -> Verdict {
            let has_replacement = self.has_replacement;
            self.liveness.poll(self.path, self.awaits, |_| has_replacement, (self.now, self.wall))
        }
    }

    #[test]
    fn silence_counts_only_with_unacknowledged_frames() {
        let mut watched = Watched::new();
        assert_eq!(watched.run(60_000, 0, 0, RTT), None, "an idle connection");
        assert_eq!(watched.run(60_000, 1, 1, RTT), None, "a transfer");
        assert_eq!(watched.run(200, 0, 1, RTT), None);
        assert_eq!(watched.run(2400, 0, 0, RTT), None);
        let suspicion = watched.run(200, 0, 0, RTT);
        assert!(
            matches!(suspicion, Some(Suspicion::Silent(silent)) if silent >= SILENCE_MIN.time),
            "{suspicion:?}"
        );
        assert_eq!(watched.run(200, 1, 0, RTT), None, "traffic again");
        assert_eq!(watched.run(60_000, 0, 0, RTT), None);
    }

    #[test]
    fn under_load_a_shorter_silence_counts() {
        let mut watched = Watched { awaits: Awaits::Data, ..Watched::new() };
        assert_eq!(watched.run(60_000, 200, 5, RTT), None, "a transfer");
        assert_eq!(watched.run(800, 0, 1, RTT), None, "a burst of losses");
        assert!(watched.run(400, 0, 1, RTT).is_some());
        let slow = Duration::from_secs(1);
        assert_eq!(watched.run(200, 200, 5, slow), None);
        assert_eq!(watched.run(3800, 0, 1, slow), None, "a long path");
        assert!(watched.run(400, 0, 1, slow).is_some());
        // A transfer that had stalled before: little arrived, and then nothing.
        watched.run(200, 200, 5, RTT);
        watched.run(2000, 1, 1, RTT);
        assert_eq!(watched.run(2400, 0, 1, RTT), None);
    }

    #[test]
    fn a_good_handshake_and_then_silence_is_a_reason() {
        let mut watched = Watched { awaits: Awaits::Welcome, ..Watched::new() };
        assert_eq!(watched.run(800, 0, 0, RTT), None);
        assert!(watched.run(200, 0, 0, RTT).is_some());
        let mut busy = Watched { awaits: Awaits::Welcome, ..Watched::new() };
        assert_eq!(busy.run(4000, 1, 0, RTT), None, "a server that is alive");
    }

    #[test]
    fn more_sent_frames_do_not_extend_the_limit() {
        let mut watched = Watched::new();
        assert_eq!(watched.run(2400, 0, 1, RTT), None);
        assert!(watched.run(400, 0, 1, RTT).is_some());
    }

    #[test]
    fn a_slow_path_has_more_time() {
        let mut watched = Watched::new();
        let slow = Duration::from_secs(1);
        assert_eq!(watched.run(6000, 0, 1, slow), None);
        assert!(watched.run(400, 0, 1, slow).is_some());
    }

    #[test]
    fn with_a_replacement_a_shorter_silence_counts() {
        let mut watched = Watched { has_replacement: true, ..Watched::new() };
        assert_eq!(watched.run(1200, 0, 1, RTT), None);
        assert!(watched.run(200, 0, 1, RTT).is_some());
        watched.run(200, 1, 1, RTT);
        let slow = Duration::from_secs(1);
        assert_eq!(watched.run(4000, 0, 1, slow), None);
        assert!(watched.run(400, 0, 1, slow).is_some());
    }

    #[test]
    fn a_request_that_receives_nothing_probes_the_server() {
        let mut watched = Watched::new();
        watched.run(10_000, 0, 0, RTT);
        assert_eq!(watched.probes, 0, "an idle connection");
        watched.awaits = Awaits::Data;
        watched.run(10_000, 20, 0, RTT);
        assert_eq!(watched.probes, 0, "a transfer");
        watched.run(600, 0, 0, RTT);
        assert_eq!(watched.probes, 1);
        assert_eq!(watched.run(200, 0, 1, RTT), None);
        assert!(watched.run(600, 0, 0, RTT).is_some(), "it was not acknowledged");
        // A server that waits for its registry acknowledges each probe.
        let mut watched = Watched { awaits: Awaits::Data, ..Watched::new() };
        for _ in 0..300 {
            let before = watched.probes;
            assert_eq!(watched.run(200, 0, 0, RTT), None);
            if watched.probes > before {
                assert_eq!(watched.run(200, 1, 1, RTT), None);
            }
        }
        assert!((25..=35).contains(&watched.probes), "{} in a minute", watched.probes);
    }

    #[test]
    fn a_connection_is_suspected_after_the_machine_slept() {
        for (mono, wall) in [(POLL_INTERVAL, Duration::from_secs(3600)), (CLOCK_JUMP, CLOCK_JUMP)] {
            let mut watched = Watched::new();
            watched.now += mono;
            watched.wall += wall;
            assert_eq!(watched.poll(), Verdict::Suspect(Suspicion::Slept(wall)));
            assert_eq!(watched.run(10_000, 0, 0, RTT), None, "once");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_is_ignored() {
        let mut watched = Watched::new();
        watched.wall -= Duration::from_secs(3600);
        assert_eq!(watched.run(1000, 0, 0, RTT), None);
    }
}
