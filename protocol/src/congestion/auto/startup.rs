//! The beginning: doubles what is under way each round until the path is full, and no further.
//!
//! Must notice a full path by its round trips before a queue of one bandwidth-delay product spills.

use super::path::{Path, Round};
use super::sampler::Sample;
use std::time::{Duration, Instant};

/// Growth of the window by what is acknowledged: the pacer's 1.25 and this fill a path of 100 Mbit/s
/// and 200 ms within 1.5 s.
const GROWTH: f64 = 1.25;

/// Most that may be under way, in measured bandwidth-delay products: a little over twice, so that
/// the rate can double within a round; less when it has stopped growing, since the rest would queue.
const GROWING: f64 = 2.1;
const GROWN: f64 = 1.75;

/// Rate at whose growth from one quarter of a round trip to the next the path isn't full yet.
const STILL_GROWING: f64 = 1.08;

/// Growth of the rate per round below which a round counts as flat, and flat rounds that end it.
const FLAT: f64 = 1.25;
const FLAT_ROUNDS: u32 = 3;

/// Loss beyond the usual that shows a queue to spill: then one flat round is enough.
const SPILLING: f64 = 0.15;

/// Rounds in which little is known yet.
const EARLY: u64 = 4;

#[derive(Debug, Clone, Default)]
pub(super) struct Startup {
    best: f64,
    flat: u32,
    unqueued: Mean,
    arrival: Arrival,
    filling: Filling,
}

impl Startup {
    /// Begins from this rate, in bytes per second; 0 if nothing is known.
    pub(super) fn from(rate: f64) -> Self {
        Self { best: rate, ..Self::default() }
    }

    /// Whether the path is found full. If so, its rate is known.
    pub(super) fn on_sample(
        &mut self,
        now: Instant,
        sample: &Sample,
        delivered: u64,
        path: &mut Path,
    ) -> bool {
        // Of newest packets: what little leaves before the bulk is else acknowledged as the peer sees fit.
        if path.round < EARLY
            && let Some(rtt) = sample.rtt
        {
            path.rtt.set_unqueued(self.unqueued.with(rtt), false);
        }
        self.arrival.observe(now, delivered, path.rtt.min());
        if !self.filling.observe(sample, path) {
            return false;
        }
        // A sample as long as a round trip still averages over the growth; what arrived in the last
        // quarter of one is what the bottleneck lets through.
        let (rate, arriving) = (path.rate.get(), self.arrival.rate.min(path.rate.get() * 1.3));
        if arriving > rate {
            path.rate.reset(path.round, arriving);
        }
        true
    }

    /// Whether the path is full since more doesn't come through.
    pub(super) fn end_round(&mut self, round: &Round, app_limited: bool, path: &mut Path) -> bool {
        if app_limited {
            return false;
        }
        if path.rate.get() >= self.best * FLAT {
            (self.best, self.flat) = (path.rate.get(), 0);
            path.ledger.was_early(round.loss);
        } else {
            self.flat += 1;
        }
        self.flat >= FLAT_ROUNDS || (self.flat >= 1 && spills(round, path))
    }

    /// The window, after so many bytes have been acknowledged.
    pub(super) fn window(&self, window: f64, acked: u64, path: &Path) -> f64 {
        let compensation = path.ledger.early_compensation();
        let arriving = self.arrival.rate.min(path.rate.get() * 2.0);
        let product = path.product().max(path.holds(arriving, path.rtt.min()));
        let growing = path.round < EARLY || self.arrival.rate > self.arrival.before * STILL_GROWING;
        let most = product * compensation * if growing { GROWING } else { GROWN };
        grown(window, acked, path).min(most.max(super::INITIAL_WINDOW))
    }
}

/// A window after so many bytes have been acknowledged, on a path that isn't full.
pub(super) fn grown(window: f64, acked: u64, path: &Path) -> f64 {
    window + acked as f64 * path.ledger.early_compensation() * GROWTH
}

/// Whether more was lost in a round than the path loses by itself.
pub(super) fn spills(round: &Round, path: &Path) -> bool {
    round.loss.share > path.ledger.usual() + SPILLING
}

/// Mean round trip.
#[derive(Debug, Clone, Default)]
struct Mean {
    sum: Duration,
    count: u32,
}

impl Mean {
    fn with(&mut self, rtt: Duration) -> Duration {
        (self.sum, self.count) = (self.sum + rtt, self.count + 1);
        self.sum / self.count
    }
}

/// What arrives, measured over a quarter of a round trip.
#[derive(Debug, Clone, Default)]
struct Arrival {
    since: Option<(Instant, u64)>,
    rate: f64,
    before: f64,
}

impl Arrival {
    fn observe(&mut self, now: Instant, delivered: u64, round_trip: Duration) {
        const SHORTEST: Duration = Duration::from_millis(5);
        let Some((since, before)) = self.since else {
            self.since = Some((now, delivered));
            return;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < (round_trip / 4).max(SHORTEST) {
            return;
        }
        self.before = self.rate;
        // Nothing came for a whole round trip: there is no rate to speak of.
        let lull = elapsed >= round_trip.max(SHORTEST * 2);
        self.rate = if lull { 0.0 } else { (delivered - before) as f64 / elapsed.as_secs_f64() };
        self.since = Some((now, delivered));
    }
}

/// Notices that a queue builds up.
#[derive(Debug, Clone, Default)]
struct Filling {
    high: u32,
}

impl Filling {
    /// Whether the round trip has been too long for long enough to be no accident.
    fn observe(&mut self, sample: &Sample, path: &Path) -> bool {
        const IN_A_ROW: u32 = 8;
        const LEAST: Duration = Duration::from_millis(4);
        if let Some(rtt) = sample.rtt {
            let min = path.rtt.min();
            let usual = min + (min / 8).max(LEAST) + path.rtt.jitter() * 2;
            self.high = if rtt > usual { self.high + 1 } else { 0 };
        }
        self.high >= IN_A_ROW
    }
}
