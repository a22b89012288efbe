//! A start from what is remembered: a good part of the rate at once, paced, and the rest as it proves true.
//!
//! As draft-ietf-tsvwg-careful-resume: jump, validate, and a retreat at the first sign that the path
//! is another one. Must never believe a remembered rate without measuring it.

use super::path_model::{PathModel, RoundSummary};
use super::rate_sampler::RateSample;
use super::startup::{self, Startup};
use std::time::{Duration, Instant};

/// Share of the window at which a connection starts by what another one found.
pub(super) const JUMP_FROM_MEMORY: f64 = 0.5;

/// And at which it goes on after a pause, by what it found itself: paced a quarter faster by quinn, that
/// is the rate, at which BBR goes on, too (draft-ietf-ccwg-bbr, section 5.4.1).
pub(super) const JUMP_AFTER_IDLE: f64 = 0.8;

/// Bytes under way from which on it is a transfer and not a small reply.
const BULK_INFLIGHT_MIN: u64 = 64 * 1024;

/// Rounds at the full window until what is measured counts.
const VALIDATION_ROUNDS: u64 = 2;

#[derive(Debug, Clone)]
pub(super) struct Resume {
    saved_rate: f64,
    saved_rtt: Duration,
    jump: f64,
    phase: ResumePhase,
    /// Watches for a full path as in any start.
    startup: Startup,
}

#[derive(Debug, Clone, Copy)]
enum ResumePhase {
    /// Nothing large has left yet.
    Waiting,
    /// What left since then is on its way at a part of the rate.
    Unvalidated(Instant),
    /// The first of it came back as hoped.
    Validating,
    /// All of the remembered rate is in use, since that round.
    FullRate(u64),
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The path is what it was; or the difference has been measured.
    Confirmed,
    /// It is full before the remembered rate is reached.
    PathFull,
    /// It is another one.
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

    /// Begins once more where the transfer hasn't come yet, or came to its end before it proved anything:
    /// with this jump at most, since waiting proves nothing either. Whether it did.
    pub(super) fn restart_unproven(&mut self, jump: f64) -> bool {
        let keep = match self.phase {
            ResumePhase::Waiting => self.jump <= jump,
            // It is under way.
            ResumePhase::Unvalidated(_) => true,
            ResumePhase::Validating | ResumePhase::FullRate(_) => false,
        };
        if !keep {
            *self = Self::begin(self.saved_rate, self.saved_rtt, self.jump.min(jump));
        }
        !keep
    }

    /// Whether this may be the path that was remembered. A detour is never shorter, and a queue of
    /// others may make it longer for a while.
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
    ) -> Option<Outcome> {
        if let Some(rtt) = sample.rtt
            && !Self::is_same_path(self.saved_rtt, rtt)
        {
            return Some(Outcome::PathChanged);
        }
        match self.phase {
            ResumePhase::Waiting => return None,
            ResumePhase::Unvalidated(began) if sample.newest_sent >= began => {
                self.phase = ResumePhase::Validating
            }
            _ => {}
        }
        self.startup.on_sample(now, sample, delivered, path).then_some(Outcome::PathFull)
    }

    pub(super) fn end_round(
        &mut self,
        round: &RoundSummary,
        app_limited: bool,
        path: &PathModel,
    ) -> Option<Outcome> {
        match self.phase {
            ResumePhase::Validating | ResumePhase::FullRate(_) if startup::queue_overflowed(round, path) => {
                Some(Outcome::PathFull)
            }
            ResumePhase::FullRate(_) if app_limited => {
                // What little there was to send proves nothing, and is not what the path can do.
                self.phase = ResumePhase::FullRate(path.round_count);
                None
            }
            ResumePhase::FullRate(since) if path.round_count >= since + VALIDATION_ROUNDS => {
                Some(Outcome::Confirmed)
            }
            _ => None,
        }
    }

    /// The window, after so many bytes have been acknowledged.
    pub(super) fn window(&mut self, window: f64, acked: u64, path: &PathModel) -> f64 {
        let compensation = path.loss_account.startup_compensation();
        let target = path.bdp_at(self.saved_rate, self.saved_rtt) * compensation;
        match self.phase {
            ResumePhase::Waiting | ResumePhase::Unvalidated(_) => {
                (target * self.jump).max(super::INITIAL_WINDOW)
            }
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
