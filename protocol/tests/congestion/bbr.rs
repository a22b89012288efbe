//! TCP BBR as Linux has it (version 1, `net/ipv4/tcp_bbr.c`), as a rival, but for its policer
//! detection.

use crate::MTU;
use crate::sender::{Control, Manner, TCP};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// 2 ÷ ln 2.
const HIGH_GAIN: f64 = 2.885;
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const CWND_GAIN: f64 = 2.0;

/// What it leaves of the rate, so as to have no queue in the long run.
const MARGIN: f64 = 0.99;

/// Rounds that the maximum of rates is taken over.
const ROUNDS: u64 = 10;

const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);
const PROBE_RTT: Duration = Duration::from_millis(200);

const INITIAL: u64 = 10 * MTU;
const LEAST: u64 = 4 * MTU;

/// `bbr_quantization_budget`: three bursts of a millisecond each at 100 Mbit/s.
const BURSTS: u64 = 24 * MTU;

pub(crate) struct Bbr {
    mode: Mode,
    /// Its pace is so many times what it measures here: acknowledgements that come in bunches make a real one
    /// believe in more than the link gives it.
    boldness: f64,
    departures: VecDeque<Departure>,
    first_sent: Instant,
    delivered: u64,
    delivered_at: Instant,
    /// Of the batch of acknowledgements: when its newest packet left, and its bytes.
    batch: Option<(Instant, u64)>,
    round: u64,
    round_end: u64,
    /// Rates by round, falling.
    rates: VecDeque<(u64, f64)>,
    min_rtt: Duration,
    min_rtt_at: Instant,
    full_rate: f64,
    flat: u32,
    full: bool,
    window: u64,
    /// Before recovery or `Mode::ProbeRtt`.
    before: u64,
    /// Until when (by what is delivered) only as much leaves as arrives.
    conserving: Option<u64>,
    lost: bool,
    aggregation: Aggregation,
}

/// How much more is acknowledged at once than the rate explains (`extra_acked`).
struct Aggregation {
    since: Instant,
    acked: u64,
    /// Most of the last five to ten rounds: of the ones before, and of these since that round.
    before: u64,
    most: u64,
    round: u64,
}

#[derive(Clone, Copy)]
struct Departure {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Startup,
    Drain,
    /// In this phase of the cycle, since then.
    ProbeBw(usize, Instant),
    /// Until this time and round, once little enough is under way.
    ProbeRtt(Option<(Instant, u64)>),
}

impl Bbr {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            mode: Mode::Startup,
            boldness: 1.0,
            departures: VecDeque::new(),
            first_sent: now,
            delivered: 0,
            delivered_at: now,
            batch: None,
            round: 0,
            round_end: 0,
            rates: VecDeque::new(),
            min_rtt: Duration::MAX,
            min_rtt_at: now,
            full_rate: 0.0,
            flat: 0,
            full: false,
            window: INITIAL,
            before: 0,
            conserving: None,
            lost: false,
            aggregation: Aggregation { since: now, acked: 0, before: 0, most: 0, round: 0 },
        }
    }

    /// One that overrates its part of the link.
    pub(crate) fn bold(now: Instant) -> Self {
        Self { boldness: 1.08, ..Self::new(now) }
    }

    fn rate(&self) -> f64 {
        self.rates.front().map_or(0.0, |(_, rate)| *rate)
    }

    fn product(&self, gain: f64) -> u64 {
        (self.rate() * self.min_rtt.as_secs_f64() * gain) as u64
    }

    fn gains(&self) -> (f64, f64) {
        match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (1.0 / HIGH_GAIN, HIGH_GAIN),
            Mode::ProbeBw(phase, _) => (CYCLE[phase], CWND_GAIN),
            Mode::ProbeRtt(_) => (1.0, 1.0),
        }
    }

    /// Which phase of the cycle comes first is left to chance by Linux, but for the second.
    fn probe_bandwidth(&mut self, now: Instant) {
        let phase = [0, 2, 3, 4, 5, 6, 7][(self.delivered / MTU % 7) as usize];
        self.mode = Mode::ProbeBw(phase, now);
    }

    fn observe_rate(&mut self, now: Instant, sent: Instant) -> bool {
        let index = self.departures.partition_point(|departure| departure.at < sent);
        self.departures.drain(..index);
        let Some(departure) = self.departures.front().copied().filter(|departure| departure.at == sent)
        else {
            return false;
        };
        self.first_sent = sent;
        let ended = departure.delivered >= self.round_end;
        if ended {
            self.round += 1;
            self.round_end = self.delivered;
        }
        let elapsed = (now - departure.delivered_at).max(sent - departure.first_sent);
        if elapsed >= self.min_rtt {
            let rate = (self.delivered - departure.delivered) as f64 / elapsed.as_secs_f64();
            while self.rates.back().is_some_and(|(_, last)| *last <= rate) {
                self.rates.pop_back();
            }
            self.rates.push_back((self.round, rate));
        }
        while self.rates.len() > 1 && self.rates[0].0 + ROUNDS < self.round {
            self.rates.pop_front();
        }
        ended
    }

    fn observe_aggregation(&mut self, now: Instant, acked: u64) {
        const HALF_A_WINDOW: u64 = 5;
        let (rate, window) = (self.rate(), self.window);
        let extra = &mut self.aggregation;
        if self.round >= extra.round + HALF_A_WINDOW {
            (extra.before, extra.most, extra.round) = (extra.most, 0, self.round);
        }
        let mut expected = (rate * (now - extra.since).as_secs_f64()) as u64;
        if extra.acked <= expected {
            (extra.acked, extra.since, expected) = (0, now, 0);
        }
        extra.acked += acked;
        extra.most = extra.most.max((extra.acked - expected).min(window));
    }

    /// Room for what is acknowledged in bunches: of 100 ms at most.
    fn aggregated(&self) -> u64 {
        let Aggregation { before, most, .. } = self.aggregation;
        before.max(most).min((self.rate() / 10.0) as u64)
    }

    fn observe_full(&mut self) {
        if self.full {
            return;
        }
        if self.rate() >= self.full_rate * 1.25 {
            (self.full_rate, self.flat) = (self.rate(), 0);
            return;
        }
        self.flat += 1;
        self.full = self.flat >= 3;
    }

    fn cycle(&mut self, now: Instant, phase: usize, since: Instant, in_flight: u64) {
        let long = now - since > self.min_rtt;
        let over = match CYCLE[phase] {
            gain if gain > 1.0 => long && (self.lost || in_flight >= self.product(gain)),
            gain if gain < 1.0 => long || in_flight <= self.product(1.0),
            _ => long,
        };
        if over {
            self.mode = Mode::ProbeBw((phase + 1) % CYCLE.len(), now);
        }
    }

    fn observe_rtt(&mut self, now: Instant, rtt: Duration, in_flight: u64) {
        let expired = now - self.min_rtt_at > MIN_RTT_LIFETIME;
        if rtt <= self.min_rtt || expired {
            (self.min_rtt, self.min_rtt_at) = (rtt, now);
        }
        if expired && !matches!(self.mode, Mode::ProbeRtt(_)) {
            self.before = self.window;
            self.conserving = None;
            self.mode = Mode::ProbeRtt(None);
        }
        match self.mode {
            Mode::ProbeRtt(None) if in_flight <= LEAST => {
                self.mode = Mode::ProbeRtt(Some((now + PROBE_RTT, self.round + 1)));
            }
            Mode::ProbeRtt(Some((until, round))) if now >= until && self.round >= round => {
                self.min_rtt_at = now;
                self.window = self.window.max(self.before);
                self.mode = Mode::Startup;
                if self.full {
                    self.probe_bandwidth(now);
                }
            }
            _ => {}
        }
    }

    fn set_window(&mut self, acked: u64, in_flight: u64) {
        if self.conserving.is_some_and(|until| self.delivered >= until) {
            self.conserving = None;
            self.window = self.window.max(self.before);
        }
        let target = self.product(self.gains().1) + BURSTS + if self.full { self.aggregated() } else { 0 };
        if self.conserving.is_some() {
            self.window = self.window.max(in_flight + acked);
        } else if self.full {
            self.window = (self.window + acked).min(target);
        } else if self.window < target || self.delivered < INITIAL {
            self.window += acked;
        }
        self.window = self.window.max(LEAST);
        if matches!(self.mode, Mode::ProbeRtt(_)) {
            self.window = self.window.min(LEAST);
        }
    }
}

impl Algorithm for Bbr {
    fn on_sent(&mut self, now: Instant, _bytes: u64) {
        if self.departures.is_empty() {
            (self.first_sent, self.delivered_at) = (now, now);
        }
        if self.departures.back().is_none_or(|departure| departure.at < now) {
            let Self { delivered, delivered_at, first_sent, .. } = *self;
            self.departures.push_back(Departure { at: now, delivered, delivered_at, first_sent });
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = now;
        let (newest, acked) = self.batch.unwrap_or((sent, 0));
        self.batch = Some((newest.max(sent), acked + bytes));
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _app_limited: bool) {
        let Some((sent, acked)) = self.batch.take() else { return };
        if self.observe_rate(now, sent) {
            self.observe_full();
        }
        self.observe_aggregation(now, acked);
        match self.mode {
            Mode::ProbeBw(phase, since) => self.cycle(now, phase, since, in_flight),
            Mode::Startup if self.full => self.mode = Mode::Drain,
            Mode::Drain if in_flight <= self.product(1.0) => self.probe_bandwidth(now),
            _ => {}
        }
        self.lost = false;
        self.observe_rtt(now, now - sent, in_flight);
        self.set_window(acked, in_flight);
    }

    fn on_loss(&mut self, _now: Instant, _sent: Instant, bytes: u64, _persistent: bool) {
        self.lost = true;
        if self.conserving.is_none() && !matches!(self.mode, Mode::ProbeRtt(_)) {
            self.before = self.window;
            self.conserving = Some(self.delivered + self.window);
            // What is under way is told with the next acknowledgement.
            self.window = 0;
        }
        self.window = self.window.saturating_sub(bytes).max(LEAST);
    }

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        self.window
    }

    fn measured(&self) -> Measured {
        Measured { phase: "bbr", window: self.window, ..Measured::default() }
    }
}

impl Control for Bbr {
    fn manner(&self) -> Manner {
        TCP
    }

    fn pace(&self) -> Option<f64> {
        (self.rate() > 0.0).then(|| self.rate() * self.gains().0 * MARGIN * self.boldness)
    }
}
