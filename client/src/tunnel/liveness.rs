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
const SILENCE_MIN: Duration = Duration::from_millis(2500);

/// The shortest silence that counts on a slow path, in round trips.
const SILENCE_MIN_ROUND_TRIPS: u32 = 6;

/// A gap between two polls, on either clock, from which the machine has slept.
const CLOCK_JUMP: Duration = Duration::from_secs(5);

/// Why a connection is suspected to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Sent frames are not acknowledged.
    Silent(Duration),
    /// The machine has slept, so the network may have changed.
    Slept(Duration),
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct LivenessMonitor {
    path: Path,
    /// Since when a sent frame waits for an acknowledgement while no datagram arrives.
    unacknowledged_since: Option<Instant>,
    last_poll: (Instant, SystemTime),
}

impl LivenessMonitor {
    pub(super) fn new(path: Path, now: Instant, wall: SystemTime) -> Self {
        Self { path, unacknowledged_since: None, last_poll: (now, wall) }
    }

    /// Compares the counters with those of the last poll. `now` stops while the machine sleeps, `wall` does
    /// not.
    pub(super) fn poll(&mut self, path: Path, now: Instant, wall: SystemTime) -> Option<Suspicion> {
        let (then, wall_then) = std::mem::replace(&mut self.last_poll, (now, wall));
        let elapsed = now.saturating_duration_since(then);
        let elapsed = elapsed.max(wall.duration_since(wall_then).unwrap_or_default());
        let before = std::mem::replace(&mut self.path, path);
        if path.datagrams_received != before.datagrams_received {
            self.unacknowledged_since = None;
        } else if path.ack_eliciting_sent != before.ack_eliciting_sent {
            self.unacknowledged_since = self.unacknowledged_since.or(Some(now));
        }
        if elapsed >= CLOCK_JUMP {
            return Some(Suspicion::Slept(elapsed));
        }
        let silent = now.saturating_duration_since(self.unacknowledged_since?);
        (silent >= SILENCE_MIN.max(path.rtt * SILENCE_MIN_ROUND_TRIPS)).then_some(Suspicion::Silent(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    /// A connection that is looked at every `POLL_INTERVAL`.
    struct Watched {
        liveness: LivenessMonitor,
        path: Path,
        now: Instant,
        wall: SystemTime,
    }

    impl Watched {
        fn new() -> Self {
            let (now, wall) = (Instant::now(), SystemTime::now());
            let path = Path { rtt: RTT, datagrams_received: 10, ack_eliciting_sent: 10, ..Path::default() };
            Self { liveness: LivenessMonitor::new(path, now, wall), path, now, wall }
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
                self.liveness.poll(self.path, self.now, self.wall)
            })
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
            matches!(suspicion, Some(Suspicion::Silent(silent)) if silent >= SILENCE_MIN),
            "{suspicion:?}"
        );
        assert_eq!(watched.run(200, 1, 0, RTT), None, "traffic again");
        assert_eq!(watched.run(60_000, 0, 0, RTT), None);
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
    fn a_connection_is_suspected_after_the_machine_slept() {
        for (mono, wall) in [(POLL_INTERVAL, Duration::from_secs(3600)), (CLOCK_JUMP, CLOCK_JUMP)] {
            let mut watched = Watched::new();
            watched.now += mono;
            watched.wall += wall;
            let suspicion = watched.liveness.poll(watched.path, watched.now, watched.wall);
            assert_eq!(suspicion, Some(Suspicion::Slept(wall)));
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
