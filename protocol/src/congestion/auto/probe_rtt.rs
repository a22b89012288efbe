//! ProbeRtt: half a BDP (or the minimum window) in flight for two rounds, which drains queues and reveals
//! min_rtt.
//!
//! After a low delivery rate, it distinguishes a path that became slower (the queue was ours and is gone)
//! from one with a longer RTT. Must never measure min_rtt before the packets in flight fit into the small
//! window.

use super::path_model::PathModel;
use crate::congestion::constants::MIN_WINDOW_PACKETS;
use std::time::{Duration, Instant};

/// The window in BDPs.
const CWND_GAIN: f64 = 0.5;

/// Minimum time at the small window.
const DURATION_MIN: Duration = Duration::from_millis(100);

/// Minimum number of rounds at the small window: the first still acknowledges what was sent before.
const ROUNDS_MIN: u64 = 2;

/// Rounds after ProbeRtt with a low delivery rate, because little was sent.
const UNTRUSTED_ROUNDS: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct ProbeRtt {
    reason: ProbeRttReason,
    window: f64,
    drained: Option<Drained>,
}

/// Why ProbeRtt began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ProbeRttReason {
    /// No packet met min_rtt in its lifetime.
    MinRttExpired,
    /// The last rounds delivered only this rate, at a longer RTT.
    LowRate(f64),
}

/// The packets in flight fit into the small window.
#[derive(Debug, Clone, Copy)]
struct Drained {
    end: Instant,
    start_round: u64,
    old_min_rtt: Duration,
}

impl ProbeRtt {
    pub(super) fn begin(reason: ProbeRttReason, path: &PathModel) -> Self {
        let rate = match reason {
            ProbeRttReason::MinRttExpired => path.max_rate.get(),
            ProbeRttReason::LowRate(rate) => rate,
        };
        let window = rate * path.rtt.min().as_secs_f64() * CWND_GAIN;
        Self { reason, window: window.max(MIN_WINDOW_PACKETS * path.mtu() as f64), drained: None }
    }

    pub(super) fn window(&self) -> f64 {
        self.window
    }

    /// Whether ProbeRtt is over. If so, it has updated the path's min_rtt and rate.
    pub(super) fn on_sample(&mut self, now: Instant, in_flight: u64, path: &mut PathModel) -> bool {
        let Some(drained) = self.drained else {
            if in_flight as f64 <= self.window + 2.0 * path.mtu() as f64 {
                let old_min_rtt = path.rtt.restart_min(now);
                self.drained =
                    Some(Drained { end: now + DURATION_MIN, start_round: path.round_count, old_min_rtt });
            }
            return false;
        };
        if now < drained.end || path.round_count < drained.start_round + ROUNDS_MIN {
            return false;
        }
        path.rtt.confirm_min(now);
        if let ProbeRttReason::LowRate(rate) = self.reason {
            if path.rtt.min() < drained.old_min_rtt + drained.old_min_rtt / 5 {
                path.max_rate.reset(path.round_count, rate);
            } else {
                path.max_rate.refresh(path.round_count);
            }
        }
        path.distrust_rounds(UNTRUSTED_ROUNDS);
        true
    }

    pub(super) fn is_for_low_rate(&self) -> bool {
        self.reason != ProbeRttReason::MinRttExpired
    }
}
