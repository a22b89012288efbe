//! Resume: starts from a saved rate. A part of the rate is used at once, paced, and the rest once the path
//! confirms it.
//!
//! As careful resume (draft-ietf-tsvwg-careful-resume): jump, validate, and retreat when the path turns out
//! to be another one. Must never trust a saved rate without measuring it.

use super::path_model::{PathModel, RoundSummary};
use super::rate_sampler::RateSample;
use super::startup::{self, Startup};
use crate::congestion::constants::INITIAL_WINDOW;
use std::time::{Duration, Instant};

/// First window of a connection that uses another connection's measurement, as a share of the saved BDP.
pub(super) const JUMP_FROM_MEMORY: f64 = 0.5;

/// First window after an idle period, with the connection's own measurement, as a share of the saved BDP.
/// The QUIC stack paces at 1.25 × this, which is the saved rate, and BBR also continues at that rate
/// (draft-ietf-ccwg-bbr, section 5.4.1).
pub(super) const JUMP_AFTER_IDLE: f64 = 0.8;

/// Bytes in flight from which on a transfer counts as bulk, and not as a small response.
const BULK_INFLIGHT_MIN: u64 = 64 * 1024;

/// Rounds at the full window after which the measured rate counts.
const VALIDATION_ROUNDS: u64 = 2;

#[derive(Debug, Clone)]
pub(super) struct Resume {
    saved_rate: f64,
    saved_rtt: Duration,
    jump: f64,
    phase: ResumePhase,
    /// Detects a full path, as in Startup.
    startup: Startup,
}

#[derive(Debug, Clone, Copy)]
enum ResumePhase {
    /// No bulk transfer has begun.
    Waiting,
    /// Bulk sent since then is in flight, at a part of the saved rate.
    Unvalidated(Instant),
    /// The first of these packets is acknowledged, and the RTT matches.
    Validating,
    /// The window is the full saved one, since that round.
    FullRate(u64),
}

/// How Resume ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumeOutcome {
    /// The path has the saved rate, or its new rate has been measured.
    Confirmed,
    /// The path was full below the saved rate.
    PathFull,
    /// It is another path.
    PathChanged,
}

impl Resume {
    pub(super) fn begin(rate: f64, rtt: Duration, jump: f64) -> Self {
        Self {
            saved_rate: rate,
            saved_rtt: rtt,
            jump,
            phase: ResumePhase::Waiting,
            startup: Startup::from(rate),
        }
    }

    /// After an idle period, restarts with at most `jump` unless it already waits at that or the jump is in
    /// flight: a transfer that ended early proves nothing, and neither does waiting. Returns whether it
    /// restarted.
    pub(super) fn restart_unproven(&mut self, jump: f64) -> bool {
        let keep = match self.phase {
            ResumePhase::Waiting => self.jump <= jump,
            // The jump is in flight.
            ResumePhase::Unvalidated(_) => true,
            ResumePhase::Validating | ResumePhase::FullRate(_) => false,
        };
        if !keep {
            *self = Self::begin(self.saved_rate, self.saved_rtt, self.jump.min(jump));
        }
        !keep
    }

    /// Whether the RTTs may be the same path's. A detour is never shorter, and other flows' queues may make
    /// the RTT longer for a while.
    pub(super) fn is_same_path(saved: Duration, current: Duration) -> bool {
        const RTT_TOLERANCE: Duration = Duration::from_millis(10);
        current + RTT_TOLERANCE >= saved * 3 / 4 && current <= saved * 3 / 2 + RTT_TOLERANCE
    }

    pub(super) fn on_sent(&mut self, now: Instant, in_flight: u64) {
        if matches!(self.phase, ResumePhase::Waiting) && in_flight > BULK_INFLIGHT_MIN {
            self.phase = ResumePhase::Unvalidated(now);
        }
    }

    pub(super) fn on_sample(
        &mut self,
        now: Instant,
        sample: &RateSample,
        delivered: u64,
        path: &mut PathModel,
    ) -> Option<ResumeOutcome> {
        if let Some(rtt) = sample.rtt
            && !Self::is_same_path(self.saved_rtt, rtt)
        {
            return Some(ResumeOutcome::PathChanged);
        }
        match self.phase {
            ResumePhase::Waiting => return None,
            ResumePhase::Unvalidated(began) if sample.newest_sent >= began => {
                self.phase = ResumePhase::Validating
            }
            _ => {}
        }
        self.startup.on_sample(now, sample, delivered, path).then_some(ResumeOutcome::PathFull)
    }

    pub(super) fn end_round(
        &mut self,
        round: &RoundSummary,
        app_limited: bool,
        path: &PathModel,
    ) -> Option<ResumeOutcome> {
        match self.phase {
            ResumePhase::Validating | ResumePhase::FullRate(_) if startup::queue_overflowed(round, path) => {
                Some(ResumeOutcome::PathFull)
            }
            ResumePhase::FullRate(_) if app_limited => {
                // An app-limited round does not show what the path can deliver.
                self.phase = ResumePhase::FullRate(path.round_count);
                None
            }
            ResumePhase::FullRate(since) if path.round_count >= since + VALIDATION_ROUNDS => {
                Some(ResumeOutcome::Confirmed)
            }
            _ => None,
        }
    }

    /// The window after `acked` bytes have been acknowledged.
    pub(super) fn window(&mut self, window: f64, acked: u64, path: &PathModel) -> f64 {
        let compensation = path.loss_account.startup_compensation();
        let target = path.bdp_at(self.saved_rate, self.saved_rtt) * compensation;
        match self.phase {
            ResumePhase::Waiting | ResumePhase::Unvalidated(_) => (target * self.jump).max(INITIAL_WINDOW),
            ResumePhase::Validating => {
                let grown = startup::grown_window(window, acked, path);
                if grown >= target {
                    self.phase = ResumePhase::FullRate(path.round_count);
                }
                grown.min(target)
            }
            ResumePhase::FullRate(_) => target,
        }
    }
}
