//! Half of what the path holds (or the least window) for two rounds, so that the round trip without
//! queues shows.
//!
//! Tells a path that became slower (the queue was ours and is gone) from one that became longer.

use super::path::Path;
use std::time::{Duration, Instant};

/// Window in bandwidth-delay products.
const HALF: f64 = 0.5;

/// How long to stay at the low window at least, and for how many rounds: the first brings back what
/// left before.
const STAY: Duration = Duration::from_millis(100);
const ROUNDS: u64 = 2;

/// Rounds after it that delivered little because little was sent.
const AFTERMATH: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Look {
    reason: Reason,
    window: f64,
    low: Option<Low>,
}

/// Why one looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reason {
    /// The minimum has not been met for long.
    Expired,
    /// So much and no more has been delivered of late, at a longer round trip.
    Suspicion(f64),
}

/// What was under way has come down to the window.
#[derive(Debug, Clone, Copy)]
struct Low {
    until: Instant,
    since: u64,
    old: Duration,
}

impl Look {
    pub(super) fn begin(reason: Reason, path: &Path) -> Self {
        let rate = match reason {
            Reason::Expired => path.rate.get(),
            Reason::Suspicion(rate) => rate,
        };
        let half = rate * path.rtt.min().as_secs_f64() * HALF;
        Self { reason, window: half.max(super::LEAST * path.mtu() as f64), low: None }
    }

    pub(super) fn window(&self) -> f64 {
        self.window
    }

    /// Whether it has seen enough. If so, the path is known again.
    pub(super) fn on_sample(&mut self, now: Instant, in_flight: u64, path: &mut Path) -> bool {
        let Some(low) = self.low else {
            if in_flight as f64 <= self.window + 2.0 * path.mtu() as f64 {
                let old = path.rtt.restart(now);
                self.low = Some(Low { until: now + STAY, since: path.round, old });
            }
            return false;
        };
        if now < low.until || path.round < low.since + ROUNDS {
            return false;
        }
        path.rtt.settle(now);
        if let Reason::Suspicion(rate) = self.reason {
            if path.rtt.min() < low.old + low.old / 5 {
                path.rate.reset(path.round, rate);
            } else {
                path.rate.renew(path.round);
            }
        }
        path.distrust(AFTERMATH);
        true
    }

    pub(super) fn was_suspicious(&self) -> bool {
        self.reason != Reason::Expired
    }
}
