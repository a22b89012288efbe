//! A start from what is remembered: a good part of the rate at once, paced, and the rest as it proves true.
//!
//! As draft-ietf-tsvwg-careful-resume: jump, validate, and a retreat at the first sign that the path
//! is another one. Must never believe a remembered rate without measuring it.

use super::path::{Path, Round};
use super::sampler::Sample;
use super::startup::{self, Startup};
use std::time::{Duration, Instant};

/// Share of the window at which a connection starts by what another one found.
pub(super) const FROM_MEMORY: f64 = 0.5;

/// And at which it goes on after a pause, by what it found itself: paced a quarter faster by quinn, that
/// is the rate, at which BBR goes on, too (draft-ietf-ccwg-bbr, section 5.4.1).
pub(super) const AFTER_PAUSE: f64 = 0.8;

/// Bytes under way from which on it is a transfer and not a small reply.
const TRANSFER: u64 = 64 * 1024;

/// Rounds at the full window until what is measured counts.
const ROUNDS: u64 = 2;

#[derive(Debug, Clone)]
pub(super) struct Resume {
    rate: f64,
    rtt: Duration,
    jump: f64,
    stage: Stage,
    /// Watches for a full path as in any start.
    watch: Startup,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Nothing large has left yet.
    Ready,
    /// What left since then is on its way at a part of the rate.
    Jump(Instant),
    /// The first of it came back as hoped.
    Climb,
    /// All of the remembered rate is in use, since that round.
    Full(u64),
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The path is what it was; or the difference has been measured.
    Known,
    /// It is full before the remembered rate is reached.
    Full,
    /// It is another one.
    Another,
}

impl Resume {
    pub(super) fn begin(rate: f64, rtt: Duration, jump: f64) -> Self {
        Self { rate, rtt, jump, stage: Stage::Ready, watch: Startup::from(rate) }
    }

    /// Begins once more where the transfer hasn't come yet, or came to its end before it proved anything:
    /// with this jump at most, since waiting proves nothing either. Whether it did.
    pub(super) fn wait(&mut self, jump: f64) -> bool {
        let waits = match self.stage {
            Stage::Ready => self.jump <= jump,
            // It is under way.
            Stage::Jump(_) => true,
            Stage::Climb | Stage::Full(_) => false,
        };
        if !waits {
            *self = Self::begin(self.rate, self.rtt, self.jump.min(jump));
        }
        !waits
    }

    /// Whether this may be the path that was remembered. A detour is never shorter, and a queue of
    /// others may make it longer for a while.
    pub(super) fn like(remembered: Duration, now: Duration) -> bool {
        const SLACK: Duration = Duration::from_millis(10);
        now + SLACK >= remembered * 3 / 4 && now <= remembered * 3 / 2 + SLACK
    }

    pub(super) fn on_sent(&mut self, now: Instant, in_flight: u64) {
        if matches!(self.stage, Stage::Ready) && in_flight > TRANSFER {
            self.stage = Stage::Jump(now);
        }
    }

    pub(super) fn on_sample(
        &mut self,
        now: Instant,
        sample: &Sample,
        delivered: u64,
        path: &mut Path,
    ) -> Option<Verdict> {
        if let Some(rtt) = sample.rtt
            && !Self::like(self.rtt, rtt)
        {
            return Some(Verdict::Another);
        }
        match self.stage {
            Stage::Ready => return None,
            Stage::Jump(began) if sample.sent >= began => self.stage = Stage::Climb,
            _ => {}
        }
        self.watch.on_sample(now, sample, delivered, path).then_some(Verdict::Full)
    }

    pub(super) fn end_round(&mut self, round: &Round, app_limited: bool, path: &Path) -> Option<Verdict> {
        match self.stage {
            Stage::Climb | Stage::Full(_) if startup::spills(round, path) => Some(Verdict::Full),
            Stage::Full(_) if app_limited => {
                // What little there was to send proves nothing, and is not what the path can do.
                self.stage = Stage::Full(path.round);
                None
            }
            Stage::Full(since) if path.round >= since + ROUNDS => Some(Verdict::Known),
            _ => None,
        }
    }

    /// The window, after so many bytes have been acknowledged.
    pub(super) fn window(&mut self, window: f64, acked: u64, path: &Path) -> f64 {
        let compensation = path.ledger.early_compensation();
        let target = path.holds(self.rate, self.rtt) * compensation;
        match self.stage {
            Stage::Ready | Stage::Jump(_) => (target * self.jump).max(super::INITIAL_WINDOW),
            Stage::Climb => {
                let grown = startup::grown(window, acked, path);
                if grown >= target {
                    self.stage = Stage::Full(path.round);
                }
                grown.min(target)
            }
            Stage::Full(_) => target,
        }
    }
}
