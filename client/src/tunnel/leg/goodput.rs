//! The goodput of a session while large bodies wait for bytes.
//!
//! A body that its engine does not read, and a pause between two layers, say nothing about the path, and must never
//! lower the goodput.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which goodput is averaged. Seven round trips of 200 ms: the cycle of both congestion controls
/// (ProbeBW) has eight, so that a shorter window would show their probes and not the rate.
const WINDOW: Duration = Duration::from_millis(1500);

/// Goodput that exceeds that of the window before by less than this factor no longer grows. A start doubles in each
/// round trip, and random loss of 5 % changes a window by up to a tenth.
const PLATEAU_GROWTH_MAX: f64 = 1.15;

/// A pause from which the next body belongs to another pull: layers of one follow each other within a round trip or
/// two, and an engine that unpacks one starts the next meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// What a session has carried until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes received since it came up.
    pub received: u64,
    /// Whether a large body waits for bytes of this session.
    pub is_loaded: bool,
}

/// Measures one session.
#[derive(Debug, Default)]
pub(super) struct GoodputMeter {
    last: Option<(Instant, Carried)>,
    /// Intervals with load and the bytes received in each, the newest last.
    samples: VecDeque<(Duration, u64)>,
    /// The time with load since the last pause.
    loaded: Duration,
    /// Whether the goodput has stopped growing since then. On a busy machine, each window differs from the one before.
    is_settled: bool,
    paused_since: Option<Instant>,
}

impl GoodputMeter {
    /// Records what was carried by `now`.
    pub(super) fn observe(&mut self, now: Instant, carried: Carried) {
        let Some((then, before)) = self.last.replace((now, carried)) else { return };
        let elapsed = now.saturating_duration_since(then);
        if !carried.is_loaded {
            let since = *self.paused_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= PAUSE_MAX {
                (self.loaded, self.is_settled) = (Duration::ZERO, false);
            }
            return;
        }
        self.paused_since = None;
        if !before.is_loaded || elapsed.is_zero() {
            return;
        }
        self.loaded += elapsed;
        self.samples.push_back((elapsed, carried.received.saturating_sub(before.received)));
        let mut covered = Duration::ZERO;
        let needed = self.samples.iter().rev().take_while(|(elapsed, _)| {
            let is_needed = covered < 2 * WINDOW;
            covered += *elapsed;
            is_needed
        });
        let surplus = self.samples.len() - needed.count();
        self.samples.drain(..surplus);
        self.is_settled |=
            self.two_windows().is_some_and(|(recent, before)| recent <= before * PLATEAU_GROWTH_MAX);
    }

    /// The time with load since the last pause.
    pub(super) const fn loaded(&self) -> Duration {
        self.loaded
    }

    /// Whether a large body waited for bytes when the session was observed last.
    pub(super) fn is_loaded(&self) -> bool {
        self.last.is_some_and(|(_, carried)| carried.is_loaded)
    }

    /// The bytes received in all.
    pub(super) fn received(&self) -> u64 {
        self.last.map_or(0, |(_, carried)| carried.received)
    }

    /// Bytes per second over the last window of load, `None` before there is one.
    pub(super) fn recent(&self) -> Option<f64> {
        self.means(WINDOW).next()
    }

    /// Bytes per second over two windows, once the goodput has stopped growing. If it grows again, the last window
    /// counts.
    pub(super) fn plateau(&self) -> Option<f64> {
        let (recent, before) = self.two_windows().filter(|_| self.is_settled)?;
        Some(recent.max(f64::midpoint(recent, before)))
    }

    /// Bytes per second over the last window, if its second half carried no more than its first. A start that is not
    /// over grows by more than two within half a window, on round trips of up to 700 ms.
    pub(super) fn flat(&self) -> Option<f64> {
        let mut halves = self.means(WINDOW / 2);
        let (recent, before) = (halves.next()?, halves.next()?);
        // The end of the start may be in one of them.
        (recent <= before * PLATEAU_GROWTH_MAX).then_some(recent.max(before))
    }

    /// Starts again, with the next sample.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.is_settled = false;
    }

    fn two_windows(&self) -> Option<(f64, f64)> {
        let mut windows = self.means(WINDOW);
        Some((windows.next()?, windows.next()?))
    }

    /// The mean rates over intervals of this length, the newest first.
    fn means(&self, length: Duration) -> impl Iterator<Item = f64> {
        let mut samples = self.samples.iter().rev();
        std::iter::from_fn(move || {
            let (mut time, mut bytes) = (Duration::ZERO, 0);
            while time < length {
                let (elapsed, more) = samples.next()?;
                time += *elapsed;
                bytes += more;
            }
            Some(bytes as f64 / time.as_secs_f64())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Session {
        meter: GoodputMeter,
        now: Instant,
        received: u64,
    }

    impl Session {
        fn new() -> Self {
            Self { meter: GoodputMeter::default(), now: Instant::now(), received: 0 }
        }

        /// Runs for this time, at this rate in bytes per second.
        fn run(&mut self, ms: u64, rate: u64, is_loaded: bool) {
            for _ in 0..ms / 250 {
                self.now += Duration::from_millis(250);
                self.received += rate / 4;
                self.meter.observe(self.now, Carried { received: self.received, is_loaded });
            }
        }
    }

    #[test]
    fn a_plateau_begins_with_two_windows_without_growth() {
        let mut session = Session::new();
        session.run(1750, 500, true);
        session.run(1500, 1000, true);
        assert_eq!((session.meter.recent(), session.meter.plateau()), (Some(1000.0), None));
        session.run(1500, 1000, true);
        assert_eq!(session.meter.plateau(), Some(1000.0));
        session.run(1500, 2000, true);
        assert_eq!(session.meter.plateau(), Some(2000.0), "a dip before, or a path that gets better");
        session.run(1500, 2000, true);
        assert_eq!(session.meter.plateau(), Some(2000.0));
        session.run(3000, 500, true);
        assert_eq!(session.meter.plateau(), Some(500.0));
    }

    #[test]
    fn a_start_is_not_flat() {
        let mut session = Session::new();
        session.run(1000, 1000, true);
        session.run(750, 2000, true);
        assert_eq!(session.meter.flat(), None);
        session.run(750, 2000, true);
        assert_eq!((session.meter.flat(), session.meter.plateau()), (Some(2000.0), None));
    }

    #[test]
    fn pauses_do_not_count() {
        let mut session = Session::new();
        for _ in 0..8 {
            session.run(1000, 1000, true);
            session.run(2000, 0, false);
        }
        assert_eq!(session.meter.plateau(), Some(1000.0));
        assert_eq!(session.meter.loaded(), Duration::from_millis(8 * 750));
        session.run(4000, 0, false);
        session.run(1000, 1000, true);
        assert_eq!(session.meter.plateau(), Some(1000.0));
        assert_eq!(session.meter.loaded(), Duration::from_millis(750), "another pull");
    }
}
