//! Sessions of a leg that broke shortly after each other.
//!
//! One dead connection is no reason to leave a leg: a fresh source port often gets through.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The weight of losses at which a leg is left: three sessions that broke, or two of which one broke early. In suite
/// `leg_policy`, outages of the whole path of up to 38 s leave QUIC in use at least eight times of ten.
const WEIGHT_MAX: u32 = 3;

/// How long a loss counts. An outage of the whole path lasts seconds, and ends the sessions of both legs; a filter
/// breaks each session of a leg after the same number of bytes, so within seconds while a body is transferred.
const LOSS_VALID: Duration = Duration::from_secs(120);

/// A session that broke before it has received this much may have met a filter, which counts twice. Filters were seen
/// to stop a flow after 16 to 64 KiB; until a client notices, a few segments more may have arrived.
const EARLY_BYTES: u64 = 1024 * 1024;

/// The sessions that broke lately.
#[derive(Debug, Default)]
pub(super) struct RecentLosses(VecDeque<(Instant, u32)>);

impl RecentLosses {
    /// Whether the leg is to be left if a session breaks that has received this much.
    pub(super) fn would_leave(&self, now: Instant, received: u64) -> bool {
        let valid = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) < LOSS_VALID);
        valid.map(|(_, weight)| weight).sum::<u32>() + weight(received) >= WEIGHT_MAX
    }

    /// A session broke.
    pub(super) fn add(&mut self, now: Instant, received: u64) {
        self.0.retain(|(at, _)| now.saturating_duration_since(*at) < LOSS_VALID);
        self.0.push_back((now, weight(received)));
    }

    /// Forgets all, since another leg is in use.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn weight(received: u64) -> u32 {
    if received < EARLY_BYTES { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a session that did not break early.
    const LASTING: u64 = EARLY_BYTES;

    #[test]
    fn a_leg_is_left_after_several_sessions_that_broke_shortly_after_each_other() {
        for (sessions, expected) in [
            (&[(0, 0)][..], false),
            (&[(0, 0), (10, 0)], true),
            (&[(0, LASTING), (10, 0)], true),
            (&[(0, LASTING), (10, LASTING)], false),
            (&[(0, LASTING), (10, LASTING), (20, LASTING)], true),
            (&[(0, 0), (120, 0)], false),
            (&[(0, LASTING), (60, LASTING), (120, LASTING)], false),
        ] {
            let (mut losses, start) = (RecentLosses::default(), Instant::now());
            let mut is_left = false;
            for (at, received) in sessions {
                let now = start + Duration::from_secs(*at);
                is_left = losses.would_leave(now, *received);
                losses.add(now, *received);
            }
            assert_eq!(is_left, expected, "{sessions:?}");
        }
    }
}
