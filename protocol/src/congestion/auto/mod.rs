//! `auto`: sends as fast as the path is measured to deliver, whatever it loses.
//!
//! Must never take loss as such for congestion, and never go on sending what a queue or a policer
//! throws away.
//!
//! ```text
//!            ┌─────────┐ full ┌───────┐ 1 round ┌────────┐ 7–9 rounds ┌───────┐
//!   new ───▶ │ Startup │ ───▶ │ Drain │ ──────▶ │ Cruise │ ─────────▶ │ Probe │ ──▶ Drain
//!            └─────────┘      └───────┘         └────────┘            └───────┘
//!                 ▲   the probe got more          │    ▲
//!                 ├───────────────────────────────┤    │ the path is known again
//!                 │                               ▼    │
//!            ┌────────┐                         ┌──────┐
//!   idle ──▶ │ Resume │ ──▶ Cruise or Drain     │ Look │ too slow of late, or the round trip's
//!            └────────┘                         └──────┘ minimum not met for 10 s
//! ```
//!
//! Rounds are round trips, but of 8 ms at least. Everything is said through the window, since quinn
//! paces at 1.25 × window ÷ round trip: in the cycle the window is rate × round trip without our
//! queue ÷ (1 − the path's own loss).

mod cycle;
mod ledger;
mod look;
mod max_filter;
mod path;
mod resume;
mod round_trip;
mod sampler;
mod startup;

use super::{Algorithm, LEAST, Measured, PathMemory, Rate, SLICES, least_window};
use cycle::{Cycle, Finding, Stage};
use ledger::Kind;
use look::{Look, Reason};
use path::{Path, Round};
use resume::{Resume, Verdict};
use sampler::{Sample, Sampler};
use startup::Startup;
use std::time::{Duration, Instant};

/// Bytes that may leave before anything is known: two round trips fewer on a long path than with
/// RFC 9002's 14,720. They leave paced, and an 8 Mbit/s line takes a quarter of a second for them.
const INITIAL_WINDOW: f64 = 256.0 * 1024.0;

/// While a window is used less than nearly, it is paced by so much more than the rest.
const NEARLY: f64 = 0.95;
const UNUSED: f64 = 0.06;
const HASTE: f64 = 4.0;

/// Without a transfer for so long, what was measured has to prove true again.
const LULL: Duration = Duration::from_secs(10);

/// And for so long, it is no better than what another connection found.
const STALE: Duration = Duration::from_secs(300);

/// Congestion control by measured delivery rate.
#[derive(Debug, Clone)]
pub struct Auto {
    sampler: Sampler,
    path: Path,
    phase: Phase,
    window: f64,
    in_flight: u64,
    /// There was less to send than could be, of late.
    app_limited: bool,
    /// When there was last more to send than could be.
    busy: Instant,
    recalled: Option<PathMemory>,
    memory: Option<PathMemory>,
}

#[derive(Debug, Clone)]
enum Phase {
    Startup(Startup),
    Cycle(Cycle),
    Look(Look),
    Resume(Resume),
}

impl Auto {
    /// For a path that nothing is known of.
    #[must_use]
    pub fn new(now: Instant, mtu: u16) -> Self {
        Self {
            sampler: Sampler::new(now),
            path: Path::new(now, mtu),
            phase: Phase::Startup(Startup::default()),
            window: INITIAL_WINDOW,
            in_flight: 0,
            app_limited: true,
            busy: now,
            recalled: None,
            memory: None,
        }
    }

    /// Starts from what an earlier connection found, if the path looks the same and has not been
    /// measured since.
    pub fn recall(&mut self, memory: PathMemory) {
        if (self.sampler.delivered() as f64) < INITIAL_WINDOW {
            self.recalled = Some(memory);
        }
    }

    /// Compares a memory with the path, once there is something to compare.
    fn compare(&mut self, now: Instant) {
        if let Some(rtt) = self.path.rtt.measured()
            && let Some(memory) = self.recalled.take()
            && matches!(self.phase, Phase::Startup(_))
            && Resume::like(memory.min_rtt, rtt)
        {
            self.resume(now, memory.rate.bytes_per_second(), rtt, resume::FROM_MEMORY);
        }
    }

    fn resume(&mut self, now: Instant, rate: f64, rtt: Duration, jump: f64) {
        self.path.rate.clear();
        self.enter(now, Phase::Resume(Resume::begin(rate, rtt, jump)));
        self.set_window(0);
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        let draining = matches!(&phase, Phase::Cycle(cycle) if cycle.stage() == Stage::Drain);
        self.path.ledger.open(now, if draining { Kind::Draining } else { Kind::Other });
        self.phase = phase;
    }

    fn drain(&mut self, now: Instant) {
        self.enter(now, Phase::Cycle(Cycle::begin(Stage::Drain, &self.path)));
    }

    fn end_round(&mut self, now: Instant, round: &Round, app_limited: bool) {
        let delivered = self.sampler.delivered();
        let path = &mut self.path;
        match &mut self.phase {
            Phase::Startup(startup) => {
                if startup.end_round(round, app_limited, path) {
                    self.drain(now);
                }
            }
            Phase::Cycle(cycle) => {
                let drained = self.in_flight as f64 <= self.window;
                match cycle.end_round(now, round, drained, delivered, path) {
                    Some(Finding::Faster) => {
                        let startup = Startup::from(path.rate.get());
                        self.enter(now, Phase::Startup(startup));
                    }
                    Some(Finding::SlowerOrLonger(rate)) => {
                        let look = Look::begin(Reason::Suspicion(rate), path);
                        self.enter(now, Phase::Look(look));
                    }
                    None => {}
                }
            }
            Phase::Resume(resume) => {
                if let Some(verdict) = resume.end_round(round, app_limited, path) {
                    self.resumed(now, verdict);
                }
            }
            Phase::Look(_) => {}
        }
    }

    fn on_sample(&mut self, now: Instant, sample: &Sample, app_limited: bool) {
        let delivered = self.sampler.delivered();
        let path = &mut self.path;
        match &mut self.phase {
            Phase::Startup(startup) => {
                if startup.on_sample(now, sample, delivered, path) {
                    self.drain(now);
                }
            }
            Phase::Cycle(cycle) => {
                cycle.on_sample(sample);
                if cycle.stage() == Stage::Cruise && !app_limited && path.rtt.expired(now) {
                    let look = Look::begin(Reason::Expired, path);
                    self.enter(now, Phase::Look(look));
                }
            }
            Phase::Look(look) => {
                if look.on_sample(now, self.in_flight, path) {
                    let mut cycle = Cycle::begin(Stage::Cruise, path);
                    if look.was_suspicious() {
                        cycle = cycle.looked(now);
                    }
                    self.enter(now, Phase::Cycle(cycle));
                }
            }
            Phase::Resume(resume) => {
                if let Some(verdict) = resume.on_sample(now, sample, delivered, path) {
                    self.resumed(now, verdict);
                }
            }
        }
    }

    fn resumed(&mut self, now: Instant, verdict: Verdict) {
        match verdict {
            Verdict::Known => {
                // What left first found no queue of ours: as good as a look.
                self.path.rtt.renew(now);
                self.enter(now, Phase::Cycle(Cycle::begin(Stage::Cruise, &self.path)));
            }
            Verdict::Full => self.drain(now),
            Verdict::Another => {
                self.path.rate.clear();
                self.memory = None;
                self.window = INITIAL_WINDOW;
                self.enter(now, Phase::Startup(Startup::default()));
            }
        }
    }

    fn set_window(&mut self, acked: u64) {
        let path = &self.path;
        let window = match &mut self.phase {
            Phase::Startup(startup) => startup.window(self.window, acked, path),
            Phase::Resume(resume) => resume.window(self.window, acked, path),
            Phase::Look(look) => look.window(),
            Phase::Cycle(cycle) => {
                let window = cycle.window(path);
                if (self.in_flight as f64) < window {
                    // quinn paces by the smoothed round trip, which is still that of the queue when
                    // a drain is over: the pace, not the window, is then what is too small.
                    let smoothed = path.rtt.smoothed().min(path.rtt.min() * 3);
                    window.max(cycle.pace(path) * smoothed.as_secs_f64() / PACER)
                } else {
                    window
                }
            }
        };
        let least = match &self.phase {
            Phase::Look(_) => LEAST * path.mtu() as f64,
            _ => least_window(path.rate.get(), path.mtu() as f64),
        };
        self.window = window.max(least);
    }
}

/// How much faster than window ÷ round trip quinn's pacer sends.
const PACER: f64 = 1.25;

impl Algorithm for Auto {
    fn on_sent(&mut self, now: Instant, bytes: u64) {
        self.compare(now);
        let idle = now.saturating_duration_since(self.busy);
        if idle > LULL {
            let jump = if idle > STALE { resume::FROM_MEMORY } else { resume::AFTER_PAUSE };
            match &mut self.phase {
                Phase::Cycle(_) | Phase::Look(_) => {
                    self.path.rtt.renew(now);
                    self.resume(now, self.path.rate.get(), self.path.rtt.min(), jump);
                }
                Phase::Resume(resume) => {
                    if resume.wait(jump) {
                        self.path.rate.clear();
                        self.set_window(0);
                    }
                }
                Phase::Startup(_) => {}
            }
        }
        self.in_flight += bytes;
        self.sampler.sent(now);
        if let Phase::Resume(resume) = &mut self.phase {
            resume.on_sent(now, self.in_flight);
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.sampler.acked(now, sent, bytes);
        self.path.ledger.acked(now, sent, bytes);
    }

    fn on_acks_end(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        (self.in_flight, self.app_limited) = (in_flight, app_limited);
        if !app_limited {
            self.busy = now;
        }
        let round_trip = self.path.rtt.min();
        let Some(sample) = self.sampler.end_batch(now, in_flight, app_limited, round_trip) else { return };
        let draining = matches!(&self.phase, Phase::Cycle(cycle) if cycle.stage() == Stage::Drain);
        self.path.observe(now, &sample, draining);
        self.compare(now);
        self.on_sample(now, &sample, app_limited);
        if sample.round_ended {
            let round = self.path.end_round(now);
            self.end_round(now, &round, app_limited);
            if let Phase::Cycle(_) = self.phase {
                let rate = Rate::measured(self.path.rate.get());
                self.memory = Some(PathMemory { rate, min_rtt: self.path.rtt.min() });
            }
        }
        self.set_window(sample.acked);
    }

    fn on_loss(&mut self, _now: Instant, sent: Instant, bytes: u64, persistent: bool) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.path.ledger.lost(sent, bytes, persistent);
    }

    fn on_mtu(&mut self, mtu: u16) {
        self.path.set_mtu(mtu);
    }

    /// Since quinn paces by the window, too, one that isn't used is a pace that is too low: quinn loses
    /// what a late timer kept it from sending. So it is told of more, and of ever less as the window fills.
    fn window(&self) -> u64 {
        let unused = match &self.phase {
            Phase::Cycle(cycle)
                if cycle.stage() == Stage::Cruise && !self.app_limited && !self.path.rtt.shared() =>
            {
                (self.window * NEARLY - self.in_flight as f64).clamp(0.0, self.window * UNUSED)
            }
            _ => 0.0,
        };
        (self.window + unused * HASTE) as u64
    }

    fn measured(&self) -> Measured {
        let phase = match &self.phase {
            Phase::Startup(_) => "startup",
            Phase::Look(_) => "look",
            Phase::Resume(_) => "resume",
            Phase::Cycle(cycle) => match cycle.stage() {
                Stage::Probe => "probe",
                Stage::Drain => "drain",
                Stage::Cruise => "cruise",
            },
        };
        let known = self.path.rtt.measured().is_some();
        Measured {
            phase,
            window: self.window(),
            rate: known.then(|| Rate::measured(self.path.rate.get())),
            min_rtt: self.path.rtt.measured(),
            loss: self.path.ledger.usual(),
            memory: self.memory,
        }
    }
}
