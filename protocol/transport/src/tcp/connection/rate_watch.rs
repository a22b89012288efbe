//! Whether a connection still has the rate that it has shown: judged by what arrives while a ping waits for its answer.
//!
//! A registry that is slow delays no answer, a connection that is slow does: it has more to send than it can. A pure
//! function of counters and time. Must never read a clock.

use super::super::settings::BATCH_BYTES;
use std::time::{Duration, Instant};

/// The share of its best rate below which a connection is slow.
const SLOW_SHARE: f64 = 0.25;

/// A connection that is slow for this time and two round trips has collapsed: BBR has found the rate again by then, or
/// does not for ten seconds and more. (Measured at 5 % loss: 4 of 18 flows.)
const COLLAPSE_TIME: Duration = Duration::from_secs(1);

/// A connection on which nothing arrives for this time and for six round trips is lost: as long as a session waits.
const SILENCE_MIN: Duration = Duration::from_millis(2500);

/// A rate is measured over this time, at least: less shows a burst.
const SAMPLE_TIME_MIN: Duration = Duration::from_millis(50);

/// The time between two looks at a ping that has no answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// It needs another ping at once, which shows whether it stays slow.
    Slow,
    /// Others are to carry what follows.
    Collapsed,
    /// Nothing will arrive on it.
    Silent,
}

/// Watches one connection.
#[derive(Debug, Default)]
pub(super) struct RateWatch {
    ping: Option<Ping>,
    /// When the current sample of the rate began, and the bytes received before.
    sample: Option<(Instant, u64)>,
    /// In bytes per second.
    best: f64,
    slow_since: Option<Instant>,
}

/// A ping without an answer.
#[derive(Debug, Clone, Copy)]
struct Ping {
    sent: Instant,
    /// Bytes received before.
    received: u64,
    /// When it is looked at next.
    due: Instant,
}

impl RateWatch {
    /// A ping was sent, on a path with this round-trip time.
    pub(super) fn ping_sent(&mut self, now: Instant, received: u64, rtt: Duration) {
        self.ping = Some(Ping { sent: now, received, due: now + COLLAPSE_TIME + 2 * rtt });
    }

    /// When [`Self::look`] is due; `None` if no ping waits for an answer.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ping.map(|ping| ping.due)
    }

    /// Since when it is slow.
    pub(super) const fn slow_since(&self) -> Option<Instant> {
        self.slow_since
    }

    /// The ping was answered. Returns the time that it took.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        received: u64,
        rtt: Duration,
    ) -> Option<(Duration, Verdict)> {
        let ping = self.ping.take()?;
        let (start, before) = *self.sample.get_or_insert((ping.sent, ping.received));
        if now.saturating_duration_since(start) >= SAMPLE_TIME_MIN {
            self.best = self.best.max(rate(start, before, now, received));
            self.sample = None;
        }
        let elapsed = now.saturating_duration_since(ping.sent);
        let rate = rate(ping.sent, ping.received, now, received);
        let queued = rate * elapsed.saturating_sub(rtt).as_secs_f64();
        let is_slow =
            elapsed >= SAMPLE_TIME_MIN && rate < self.best * SLOW_SHARE && queued >= BATCH_BYTES as f64;
        Some((elapsed, self.judge(is_slow.then_some(ping.sent), now, rtt)))
    }

    /// The ping has no answer yet.
    pub(super) fn look(&mut self, now: Instant, received: u64, rtt: Duration) -> Verdict {
        let Some(ping) = &mut self.ping else { return Verdict::Fine };
        ping.due = now + LOOK_INTERVAL;
        let is_silent = received == ping.received;
        if is_silent && now.saturating_duration_since(ping.sent) >= SILENCE_MIN.max(6 * rtt) {
            return Verdict::Silent;
        }
        let rate = rate(ping.sent, ping.received, now, received);
        let is_slow = is_silent || rate < self.best * SLOW_SHARE;
        let since = is_slow.then_some(ping.sent);
        self.judge(since, now, rtt)
    }

    fn judge(&mut self, slow_since: Option<Instant>, now: Instant, rtt: Duration) -> Verdict {
        self.slow_since = slow_since.map(|since| self.slow_since.unwrap_or(since));
        match self.slow_since {
            None => Verdict::Fine,
            Some(since) if now.saturating_duration_since(since) < COLLAPSE_TIME + 2 * rtt => Verdict::Slow,
            Some(_) => Verdict::Collapsed,
        }
    }
}

/// In bytes per second.
fn rate(start: Instant, before: u64, now: Instant, received: u64) -> f64 {
    let elapsed = now.saturating_duration_since(start);
    received.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);
    const FAST: u64 = 12_000_000;

    /// A connection that pings all the time.
    struct Watched {
        watch: RateWatch,
        now: Instant,
        received: u64,
    }

    impl Watched {
        /// One that has shown a rate.
        fn fast() -> Self {
            let mut watched = Self { watch: RateWatch::default(), now: Instant::now(), received: 0 };
            assert_eq!(watched.run(20, FAST, RTT), Verdict::Fine);
            watched
        }

        /// Up to `count` pings that take so long, while bytes arrive at this rate.
        fn run(&mut self, count: usize, rate: u64, answer: Duration) -> Verdict {
            let mut verdict = Verdict::Fine;
            for _ in 0..count {
                self.watch.ping_sent(self.now, self.received, RTT);
                let answered = self.now + answer;
                while let Some(due) = self.watch.due().filter(|due| *due < answered) {
                    self.pass(due - self.now, rate);
                    verdict = self.watch.look(self.now, self.received, RTT);
                    if matches!(verdict, Verdict::Collapsed | Verdict::Silent) {
                        return verdict;
                    }
                }
                self.pass(answered - self.now, rate);
                verdict = self.watch.answered(self.now, self.received, RTT).unwrap().1;
                if verdict == Verdict::Collapsed {
                    break;
                }
            }
            verdict
        }

        fn pass(&mut self, time: Duration, rate: u64) {
            self.now += time;
            self.received += (rate as f64 * time.as_secs_f64()) as u64;
        }
    }

    #[test]
    fn a_rate_that_stays_far_below_the_best_has_collapsed() {
        let mut watched = Watched::fast();
        let begun = watched.now;
        // 3 Mbit/s, and 128 KiB before each answer.
        assert_eq!(watched.run(1, 400_000, 3 * RTT), Verdict::Slow);
        assert_eq!(watched.run(9, 400_000, 3 * RTT), Verdict::Collapsed);
        assert!(watched.now - begun <= Duration::from_secs(2), "{:?}", watched.now - begun);
    }

    #[test]
    fn a_slow_registry_a_moment_and_half_the_rate_are_no_collapse() {
        let mut watched = Watched::fast();
        assert_eq!(
            watched.run(100, 400_000, RTT + Duration::from_millis(20)),
            Verdict::Fine,
            "answers at once"
        );
        for _ in 0..10 {
            assert_eq!(watched.run(2, 400_000, 3 * RTT), Verdict::Slow);
            assert_eq!(watched.run(1, FAST, RTT), Verdict::Fine);
        }
        assert_eq!(watched.run(100, FAST / 2, 3 * RTT), Verdict::Fine);
    }

    #[test]
    fn a_connection_without_a_byte_has_collapsed_and_is_lost_later() {
        for mut watched in [Watched::fast(), Watched { watch: RateWatch::default(), ..Watched::fast() }] {
            watched.watch.ping_sent(watched.now, watched.received, RTT);
            let sent = watched.now;
            let next = |watched: &mut Watched| {
                watched.now = watched.watch.due().unwrap();
                watched.watch.look(watched.now, watched.received, RTT)
            };
            assert_eq!(next(&mut watched), Verdict::Collapsed);
            assert_eq!(watched.now - sent, COLLAPSE_TIME + 2 * RTT);
            while next(&mut watched) != Verdict::Silent {}
            assert!(watched.now - sent < SILENCE_MIN + LOOK_INTERVAL);
        }
    }

    #[test]
    fn a_slow_line_that_was_never_faster_is_fine() {
        let mut watched = Watched { watch: RateWatch::default(), ..Watched::fast() };
        assert_eq!(watched.run(50, 60_000, Duration::from_secs(4)), Verdict::Fine);
    }
}
