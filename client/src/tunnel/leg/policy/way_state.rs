//! What a policy knows about one way.

use crate::tunnel::leg::knowledge::{RestKnowledge, WayKnowledge};
use crate::tunnel::leg::rest::Rests;
use std::time::{Duration, Instant};

/// How long a goodput counts as what the path has shown: networks have rush hours, and the next day is another one.
const GOODPUT_VALID: Duration = Duration::from_secs(24 * 3600);

/// The rests of a way, and its goodput.
#[derive(Debug, Default)]
pub(super) struct WayState {
    pub(super) rests: Rests,
    goodput: Option<ShownGoodput>,
}

/// What a way has shown.
#[derive(Debug, Clone, Copy)]
struct ShownGoodput {
    /// Bytes per second.
    rate: f64,
    valid_until: Instant,
}

impl WayState {
    pub(super) fn of(known: &WayKnowledge, now: Instant) -> Self {
        let rest = known.rest.map(|rest| (rest.left, rest.cause));
        let goodput = known.goodput.map(|(rate, valid)| ShownGoodput {
            rate: rate as f64,
            valid_until: now + valid.min(GOODPUT_VALID),
        });
        Self { rests: Rests::restored(rest, known.rests, now), goodput }
    }

    pub(super) fn knowledge(&self, now: Instant) -> WayKnowledge {
        let goodput = self.goodput.filter(|shown| now < shown.valid_until);
        WayKnowledge {
            goodput: goodput.map(|shown| (shown.rate as u64, shown.valid_until.duration_since(now))),
            rest: self.rests.current().map(|rest| RestKnowledge {
                left: rest.until.saturating_duration_since(now),
                cause: rest.cause,
            }),
            rests: self.rests.count(),
        }
    }

    /// It has shown this goodput in bytes per second.
    pub(super) fn show(&mut self, rate: f64, now: Instant) {
        self.goodput = Some(ShownGoodput { rate, valid_until: now + GOODPUT_VALID });
    }

    /// It has shown nothing.
    pub(super) const fn forget_goodput(&mut self) {
        self.goodput = None;
    }

    /// The goodput that it has shown, if that still counts.
    pub(super) fn shown(&self, now: Instant) -> Option<f64> {
        self.goodput.filter(|shown| now < shown.valid_until).map(|shown| shown.rate)
    }
}
