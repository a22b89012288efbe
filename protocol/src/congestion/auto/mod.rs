//! `auto`: sends as fast as the measured delivery rate, at any loss rate. The states are BBR's, with careful
//! resume in addition.
//!
//! Must never treat loss alone as congestion, and never keep sending what a full queue or a policer drops.
//!
//! ```text
//!            ┌─────────┐ full ┌──────┐ 1 round ┌────────┐ 7–9 rounds ┌────┐
//!   new ───▶ │ Startup │ ───▶ │ Down │ ──────▶ │ Cruise │ ─────────▶ │ Up │ ──▶ Down
//!            └─────────┘      └──────┘         └────────┘            └────┘
//!                 ▲   Up delivered more          │    ▲
//!                 ├──────────────────────────────┤    │ the path is known again
//!                 │                              ▼    │
//!            ┌────────┐                        ┌──────────┐
//!   idle ──▶ │ Resume │ ──▶ Cruise or Down     │ ProbeRtt │ three rounds delivered too little,
//!            └────────┘                        └──────────┘ or min_rtt is older than 10 s
//! ```
//!
//! Down, Cruise and Up are the phases of ProbeBandwidth. A round is a round trip, but at least 8 ms. The
//! window is the only control: it also sets the pacing rate, since the QUIC stack paces at 1.25 × window ÷ smoothed
//! RTT. In ProbeBandwidth it is rate × RTT without our queue ÷ (1 − base loss).

mod loss_account;
mod max_filter;
mod path_model;
mod probe_bandwidth;
mod probe_rtt;
mod rate_sampler;
mod resume;
mod rtt_model;
mod startup;

use super::constants::{INITIAL_WINDOW, MIN_WINDOW_PACKETS, min_window};
use super::{Algorithm, Measured, PathMemory, Rate};
use loss_account::EpochKind;
use path_model::{PathModel, RoundSummary};
use probe_bandwidth::{BandwidthChange, ProbeBandwidth, ProbePhase};
use probe_rtt::{ProbeRtt, ProbeRttReason};
use rate_sampler::{RateSample, RateSampler};
use resume::{Resume, ResumeOutcome};
use startup::Startup;
use std::time::{Duration, Instant};

/// Share of the window from which on it counts as fully used.
const FULL_WINDOW_SHARE: f64 = 0.95;

/// Largest unused share of the window that makes [`Auto::window`] return more.
const UNUSED_SHARE_MAX: f64 = 0.06;

/// Bytes that it returns more for each unused byte.
const UNUSED_WINDOW_GAIN: f64 = 4.0;

/// Time without a bulk transfer after which the measured rate has to be validated again.
const IDLE_BEFORE_RESUME: Duration = Duration::from_secs(10);

/// Time without a bulk transfer after which our own measurement counts no more than a recalled one.
const IDLE_BEFORE_STALE: Duration = Duration::from_secs(300);

/// Congestion control by measured delivery rate.
#[derive(Debug, Clone)]
pub struct Auto {
    sampler: RateSampler,
    path: PathModel,
    state: State,
    window: f64,
    in_flight: u64,
    /// The application had less to send than the window allows, at the last acknowledgement.
    app_limited: bool,
    /// When the connection was last not app-limited.
    last_busy: Instant,
    recalled_memory: Option<PathMemory>,
    memory: Option<PathMemory>,
}

#[derive(Debug, Clone)]
enum State {
    Startup(Startup),
    ProbeBandwidth(ProbeBandwidth),
    ProbeRtt(ProbeRtt),
    Resume(Resume),
}

impl Auto {
    /// For a path of which nothing is known.
    #[must_use]
    pub fn new(now: Instant, mtu: u16) -> Self {
        Self {
            sampler: RateSampler::new(now),
            path: PathModel::new(now, mtu),
            state: State::Startup(Startup::default()),
            window: INITIAL_WINDOW,
            in_flight: 0,
            app_limited: true,
            last_busy: now,
            recalled_memory: None,
            memory: None,
        }
    }

    /// Starts from what an earlier connection measured, if the path has the same RTT and this connection has
    /// not measured the path yet.
    pub fn recall(&mut self, memory: PathMemory) {
        if (self.sampler.delivered() as f64) < INITIAL_WINDOW {
            self.recalled_memory = Some(memory);
        }
    }

    /// Enters Resume if there is a recalled memory and the first RTT sample matches it.
    fn resume_from_memory(&mut self, now: Instant) {
        if let Some(rtt) = self.path.rtt.measured_min()
            && let Some(memory) = self.recalled_memory.take()
            && matches!(self.state, State::Startup(_))
            && Resume::is_same_path(memory.min_rtt, rtt)
        {
            self.resume(now, memory.rate.bytes_per_second(), rtt, resume::JUMP_FROM_MEMORY);
        }
    }

    fn resume(&mut self, now: Instant, rate: f64, rtt: Duration, jump: f64) {
        self.path.max_rate.clear();
        self.enter(now, State::Resume(Resume::begin(rate, rtt, jump)));
        self.set_window(0);
    }

    fn enter(&mut self, now: Instant, state: State) {
        let draining =
            matches!(&state, State::ProbeBandwidth(probe_bw) if probe_bw.phase() == ProbePhase::Down);
        self.path
            .loss_account
            .begin_epoch(now, if draining { EpochKind::ProbeDown } else { EpochKind::Other });
        self.state = state;
    }

    fn start_drain(&mut self, now: Instant) {
        self.enter(now, State::ProbeBandwidth(ProbeBandwidth::begin(ProbePhase::Down, &self.path)));
    }

    fn end_round(&mut self, now: Instant, round: &RoundSummary, app_limited: bool) {
        let delivered = self.sampler.delivered();
        let path = &mut self.path;
        match &mut self.state {
            State::Startup(startup) => {
                if startup.end_round(round, app_limited, path) {
                    self.start_drain(now);
                }
            }
            State::ProbeBandwidth(probe_bw) => {
                let drained = self.in_flight as f64 <= self.window;
                match probe_bw.end_round(now, round, drained, delivered, path) {
                    Some(BandwidthChange::More) => {
                        let startup = Startup::from(path.max_rate.get());
                        self.enter(now, State::Startup(startup));
                    }
                    Some(BandwidthChange::LessOrLongerRtt(rate)) => {
                        let probe_rtt = ProbeRtt::begin(ProbeRttReason::LowRate(rate), path);
                        self.enter(now, State::ProbeRtt(probe_rtt));
                    }
                    None => {}
                }
            }
            State::Resume(resume) => {
                if let Some(outcome) = resume.end_round(round, app_limited, path) {
                    self.finish_resume(now, outcome);
                }
            }
            State::ProbeRtt(_) => {}
        }
    }

    fn on_sample(&mut self, now: Instant, sample: &RateSample, app_limited: bool) {
        let delivered = self.sampler.delivered();
        let path = &mut self.path;
        match &mut self.state {
            State::Startup(startup) => {
                if startup.on_sample(now, sample, delivered, path) {
                    self.start_drain(now);
                }
            }
            State::ProbeBandwidth(probe_bw) => {
                probe_bw.on_sample(sample);
                if probe_bw.phase() == ProbePhase::Cruise && !app_limited && path.rtt.is_min_expired(now) {
                    let probe_rtt = ProbeRtt::begin(ProbeRttReason::MinRttExpired, path);
                    self.enter(now, State::ProbeRtt(probe_rtt));
                }
            }
            State::ProbeRtt(probe_rtt) => {
                if probe_rtt.on_sample(now, self.in_flight, path) {
                    let mut probe_bw = ProbeBandwidth::begin(ProbePhase::Cruise, path);
                    if probe_rtt.is_for_low_rate() {
                        probe_bw = probe_bw.after_low_rate(now);
                    }
                    self.enter(now, State::ProbeBandwidth(probe_bw));
                }
            }
            State::Resume(resume) => {
                if let Some(outcome) = resume.on_sample(now, sample, delivered, path) {
                    self.finish_resume(now, outcome);
                }
            }
        }
    }

    fn finish_resume(&mut self, now: Instant, outcome: ResumeOutcome) {
        match outcome {
            ResumeOutcome::Confirmed => {
                // The first packets after the pause met no queue of ours, so min_rtt is as good as from
                // ProbeRtt.
                self.path.rtt.refresh_min(now);
                self.enter(now, State::ProbeBandwidth(ProbeBandwidth::begin(ProbePhase::Cruise, &self.path)));
            }
            ResumeOutcome::PathFull => self.start_drain(now),
            ResumeOutcome::PathChanged => {
                self.path.max_rate.clear();
                self.memory = None;
                self.window = INITIAL_WINDOW;
                self.enter(now, State::Startup(Startup::default()));
            }
        }
    }

    fn set_window(&mut self, acked: u64) {
        let path = &self.path;
        let window = match &mut self.state {
            State::Startup(startup) => startup.window(self.window, acked, path),
            State::Resume(resume) => resume.window(self.window, acked, path),
            State::ProbeRtt(probe_rtt) => probe_rtt.window(),
            State::ProbeBandwidth(probe_bw) => {
                let window = probe_bw.window(path);
                if (self.in_flight as f64) < window {
                    // The QUIC stack paces by the smoothed RTT. At the end of a Down phase, that still includes the
                    // queue that is gone, so the window alone would pace too slowly.
                    let smoothed = path.rtt.smoothed().min(path.rtt.min() * 3);
                    window.max(probe_bw.pacing_rate(path) * smoothed.as_secs_f64() / PACER_GAIN)
                } else {
                    window
                }
            }
        };
        let floor = match &self.state {
            State::ProbeRtt(_) => MIN_WINDOW_PACKETS * path.mtu() as f64,
            _ => min_window(path.max_rate.get(), path.mtu() as f64),
        };
        self.window = window.max(floor);
    }
}

/// The QUIC stack's pacing rate ÷ (window ÷ smoothed RTT).
const PACER_GAIN: f64 = 1.25;

impl Algorithm for Auto {
    fn on_sent(&mut self, now: Instant, bytes: u64) {
        self.resume_from_memory(now);
        let idle = now.saturating_duration_since(self.last_busy);
        if idle > IDLE_BEFORE_RESUME {
            let jump =
                if idle > IDLE_BEFORE_STALE { resume::JUMP_FROM_MEMORY } else { resume::JUMP_AFTER_IDLE };
            match &mut self.state {
                State::ProbeBandwidth(_) | State::ProbeRtt(_) => {
                    self.path.rtt.refresh_min(now);
                    self.resume(now, self.path.max_rate.get(), self.path.rtt.min(), jump);
                }
                State::Resume(resume) => {
                    if resume.restart_unproven(jump) {
                        self.path.max_rate.clear();
                        self.set_window(0);
                    }
                }
                State::Startup(_) => {}
            }
        }
        self.in_flight += bytes;
        self.sampler.on_sent(now);
        if let State::Resume(resume) = &mut self.state {
            resume.on_sent(now, self.in_flight);
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.sampler.on_ack(now, sent, bytes);
        self.path.loss_account.on_ack(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        (self.in_flight, self.app_limited) = (in_flight, app_limited);
        if !app_limited {
            self.last_busy = now;
        }
        let min_rtt = self.path.rtt.min();
        let Some(sample) = self.sampler.on_end_acks(now, in_flight, app_limited, min_rtt) else { return };
        let draining =
            matches!(&self.state, State::ProbeBandwidth(probe_bw) if probe_bw.phase() == ProbePhase::Down);
        self.path.on_sample(now, &sample, draining);
        self.resume_from_memory(now);
        self.on_sample(now, &sample, app_limited);
        if sample.round_ended {
            let round = self.path.end_round(now);
            self.end_round(now, &round, app_limited);
            if let State::ProbeBandwidth(_) = self.state {
                let rate = Rate::measured(self.path.max_rate.get());
                self.memory = Some(PathMemory { rate, min_rtt: self.path.rtt.min() });
            }
        }
        self.set_window(sample.newly_acked);
    }

    fn on_loss(&mut self, _now: Instant, sent: Instant, bytes: u64, persistent: bool) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.path.loss_account.on_loss(sent, bytes, persistent);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.path.set_mtu(mtu);
    }

    /// The QUIC stack derives the pacing rate from the window. After a late timer, it does not make up for the packets
    /// that it did not send, so part of the window stays unused. This returns a larger window then: the less
    /// of it is in flight, the larger.
    fn window(&self) -> u64 {
        let unused = match &self.state {
            State::ProbeBandwidth(probe_bw)
                if probe_bw.phase() == ProbePhase::Cruise
                    && !self.app_limited
                    && !self.path.rtt.is_shared() =>
            {
                (self.window * FULL_WINDOW_SHARE - self.in_flight as f64)
                    .clamp(0.0, self.window * UNUSED_SHARE_MAX)
            }
            _ => 0.0,
        };
        (self.window + unused * UNUSED_WINDOW_GAIN) as u64
    }

    fn measured(&self) -> Measured {
        let phase = match &self.state {
            State::Startup(_) => "startup",
            State::ProbeRtt(_) => "probe_rtt",
            State::Resume(_) => "resume",
            State::ProbeBandwidth(probe_bw) => match probe_bw.phase() {
                ProbePhase::Up => "probe_bw_up",
                ProbePhase::Down => "probe_bw_down",
                ProbePhase::Cruise => "probe_bw_cruise",
            },
        };
        let has_min_rtt = self.path.rtt.measured_min().is_some();
        Measured {
            phase,
            window: self.window(),
            rate: has_min_rtt.then(|| Rate::measured(self.path.max_rate.get())),
            min_rtt: self.path.rtt.measured_min(),
            loss: self.path.loss_account.early_base_loss(),
            memory: self.memory,
        }
    }
}
