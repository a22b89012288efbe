//! BBR version 1 as in Linux (`net/ipv4/tcp_bbr.c`), over TCP, as a competing flow; without its policer
//! detection.

use crate::MTU;
use crate::simulator::sender::{Controller, TCP, TransportProfile};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// 2 ÷ ln 2.
const HIGH_GAIN: f64 = 2.885;
const PACING_GAIN_CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const CWND_GAIN: f64 = 2.0;

/// Pacing rate ÷ delivery rate × gain: keeps the queue empty in the long run.
const PACING_MARGIN: f64 = 0.99;

/// Rounds of the max filter of delivery rates.
const MAX_RATE_ROUNDS: u64 = 10;

const MIN_RTT_FILTER_LENGTH: Duration = Duration::from_secs(10);
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

const INITIAL_WINDOW: u64 = 10 * MTU;
const MIN_WINDOW: u64 = 4 * MTU;

/// `bbr_quantization_budget`: three bursts of a millisecond each at 100 Mbit/s.
const QUANTIZATION_BUDGET: u64 = 24 * MTU;

pub(crate) struct Bbr {
    mode: Mode,
    /// Factor on the pacing rate. With aggregated acknowledgements, a real BBR overestimates its delivery
    /// rate.
    rate_overestimate: f64,
    send_states: VecDeque<SendState>,
    first_sent_time: Instant,
    delivered: u64,
    delivered_time: Instant,
    /// The batch of acknowledgements: when its newest packet was sent, and its bytes.
    batch: Option<(Instant, u64)>,
    round: u64,
    next_round_delivered: u64,
    /// Delivery rates by round, falling.
    max_rate_filter: VecDeque<(u64, f64)>,
    min_rtt: Duration,
    min_rtt_at: Instant,
    full_bandwidth: f64,
    flat_rounds: u32,
    full_bandwidth_reached: bool,
    window: u64,
    /// The window before recovery or `Mode::ProbeRtt`.
    prior_window: u64,
    /// Packet conservation until this many bytes are delivered: only as much is sent as is acknowledged.
    conservation_end: Option<u64>,
    loss_since_ack: bool,
    extra_acked: ExtraAcked,
}

/// How much more is acknowledged at once than the rate explains (`extra_acked`).
struct ExtraAcked {
    epoch_start: Instant,
    epoch_acked: u64,
    /// Windowed maximum over the last five to ten rounds: of the previous window, of the current one, and the
    /// round in which the current one began.
    previous_max: u64,
    current_max: u64,
    window_start: u64,
}

#[derive(Clone, Copy)]
struct SendState {
    at: Instant,
    delivered: u64,
    delivered_time: Instant,
    first_sent_time: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Startup,
    Drain,
    /// Phase of the gain cycle, and its start.
    ProbeBw(usize, Instant),
    /// End time and round, once few enough packets are in flight.
    ProbeRtt(Option<(Instant, u64)>),
}

impl Bbr {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            mode: Mode::Startup,
            rate_overestimate: 1.0,
            send_states: VecDeque::new(),
            first_sent_time: now,
            delivered: 0,
            delivered_time: now,
            batch: None,
            round: 0,
            next_round_delivered: 0,
            max_rate_filter: VecDeque::new(),
            min_rtt: Duration::MAX,
            min_rtt_at: now,
            full_bandwidth: 0.0,
            flat_rounds: 0,
            full_bandwidth_reached: false,
            window: INITIAL_WINDOW,
            prior_window: 0,
            conservation_end: None,
            loss_since_ack: false,
            extra_acked: ExtraAcked {
                epoch_start: now,
                epoch_acked: 0,
                previous_max: 0,
                current_max: 0,
                window_start: 0,
            },
        }
    }

    /// A BBR that overestimates its share of the link.
    pub(crate) fn overestimating(now: Instant) -> Self {
        Self { rate_overestimate: 1.08, ..Self::new(now) }
    }

    fn rate(&self) -> f64 {
        self.max_rate_filter.front().map_or(0.0, |(_, rate)| *rate)
    }

    fn bdp(&self, gain: f64) -> u64 {
        (self.rate() * self.min_rtt.as_secs_f64() * gain) as u64
    }

    fn gains(&self) -> (f64, f64) {
        match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (1.0 / HIGH_GAIN, HIGH_GAIN),
            Mode::ProbeBw(phase, _) => (PACING_GAIN_CYCLE[phase], CWND_GAIN),
            Mode::ProbeRtt(_) => (1.0, 1.0),
        }
    }

    /// Linux chooses the first phase of the cycle at random, except the second one.
    fn enter_probe_bw(&mut self, now: Instant) {
        let phase = [0, 2, 3, 4, 5, 6, 7][(self.delivered / MTU % 7) as usize];
        self.mode = Mode::ProbeBw(phase, now);
    }

    fn update_delivery_rate(&mut self, now: Instant, sent: Instant) -> bool {
        let index = self.send_states.partition_point(|send_state| send_state.at < sent);
        self.send_states.drain(..index);
        let Some(send_state) = self.send_states.front().copied().filter(|send_state| send_state.at == sent)
        else {
            return false;
        };
        self.first_sent_time = sent;
        let ended = send_state.delivered >= self.next_round_delivered;
        if ended {
            self.round += 1;
            self.next_round_delivered = self.delivered;
        }
        let elapsed = (now - send_state.delivered_time).max(sent - send_state.first_sent_time);
        if elapsed >= self.min_rtt {
            let rate = (self.delivered - send_state.delivered) as f64 / elapsed.as_secs_f64();
            while self.max_rate_filter.back().is_some_and(|(_, last)| *last <= rate) {
                self.max_rate_filter.pop_back();
            }
            self.max_rate_filter.push_back((self.round, rate));
        }
        while self.max_rate_filter.len() > 1 && self.max_rate_filter[0].0 + MAX_RATE_ROUNDS < self.round {
            self.max_rate_filter.pop_front();
        }
        ended
    }

    fn update_extra_acked(&mut self, now: Instant, acked: u64) {
        const HALF_FILTER_ROUNDS: u64 = 5;
        let (rate, window) = (self.rate(), self.window);
        let extra = &mut self.extra_acked;
        if self.round >= extra.window_start + HALF_FILTER_ROUNDS {
            (extra.previous_max, extra.current_max, extra.window_start) = (extra.current_max, 0, self.round);
        }
        let mut expected = (rate * (now - extra.epoch_start).as_secs_f64()) as u64;
        if extra.epoch_acked <= expected {
            (extra.epoch_acked, extra.epoch_start, expected) = (0, now, 0);
        }
        extra.epoch_acked += acked;
        extra.current_max = extra.current_max.max((extra.epoch_acked - expected).min(window));
    }

    /// Window for aggregated acknowledgements: at most 100 ms of the rate.
    fn extra_acked_limit(&self) -> u64 {
        let ExtraAcked { previous_max, current_max, .. } = self.extra_acked;
        previous_max.max(current_max).min((self.rate() / 10.0) as u64)
    }

    fn check_full_bandwidth(&mut self) {
        if self.full_bandwidth_reached {
            return;
        }
        if self.rate() >= self.full_bandwidth * 1.25 {
            (self.full_bandwidth, self.flat_rounds) = (self.rate(), 0);
            return;
        }
        self.flat_rounds += 1;
        self.full_bandwidth_reached = self.flat_rounds >= 3;
    }

    fn update_cycle_phase(&mut self, now: Instant, phase: usize, since: Instant, in_flight: u64) {
        let long = now - since > self.min_rtt;
        let over = match PACING_GAIN_CYCLE[phase] {
            gain if gain > 1.0 => long && (self.loss_since_ack || in_flight >= self.bdp(gain)),
            gain if gain < 1.0 => long || in_flight <= self.bdp(1.0),
            _ => long,
        };
        if over {
            self.mode = Mode::ProbeBw((phase + 1) % PACING_GAIN_CYCLE.len(), now);
        }
    }

    fn update_min_rtt(&mut self, now: Instant, rtt: Duration, in_flight: u64) {
        let expired = now - self.min_rtt_at > MIN_RTT_FILTER_LENGTH;
        if rtt <= self.min_rtt || expired {
            (self.min_rtt, self.min_rtt_at) = (rtt, now);
        }
        if expired && !matches!(self.mode, Mode::ProbeRtt(_)) {
            self.prior_window = self.window;
            self.conservation_end = None;
            self.mode = Mode::ProbeRtt(None);
        }
        match self.mode {
            Mode::ProbeRtt(None) if in_flight <= MIN_WINDOW => {
                self.mode = Mode::ProbeRtt(Some((now + PROBE_RTT_DURATION, self.round + 1)));
            }
            Mode::ProbeRtt(Some((until, round))) if now >= until && self.round >= round => {
                self.min_rtt_at = now;
                self.window = self.window.max(self.prior_window);
                self.mode = Mode::Startup;
                if self.full_bandwidth_reached {
                    self.enter_probe_bw(now);
                }
            }
            _ => {}
        }
    }

    fn set_window(&mut self, acked: u64, in_flight: u64) {
        if self.conservation_end.is_some_and(|until| self.delivered >= until) {
            self.conservation_end = None;
            self.window = self.window.max(self.prior_window);
        }
        let target = self.bdp(self.gains().1)
            + QUANTIZATION_BUDGET
            + if self.full_bandwidth_reached { self.extra_acked_limit() } else { 0 };
        if self.conservation_end.is_some() {
            self.window = self.window.max(in_flight + acked);
        } else if self.full_bandwidth_reached {
            self.window = (self.window + acked).min(target);
        } else if self.window < target || self.delivered < INITIAL_WINDOW {
            self.window += acked;
        }
        self.window = self.window.max(MIN_WINDOW);
        if matches!(self.mode, Mode::ProbeRtt(_)) {
            self.window = self.window.min(MIN_WINDOW);
        }
    }
}

impl Algorithm for Bbr {
    fn on_sent(&mut self, now: Instant, _bytes: u64) {
        if self.send_states.is_empty() {
            (self.first_sent_time, self.delivered_time) = (now, now);
        }
        if self.send_states.back().is_none_or(|send_state| send_state.at < now) {
            let Self { delivered, delivered_time, first_sent_time, .. } = *self;
            self.send_states.push_back(SendState { at: now, delivered, delivered_time, first_sent_time });
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_time = now;
        let (newest, acked) = self.batch.unwrap_or((sent, 0));
        self.batch = Some((newest.max(sent), acked + bytes));
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _app_limited: bool) {
        let Some((sent, acked)) = self.batch.take() else { return };
        if self.update_delivery_rate(now, sent) {
            self.check_full_bandwidth();
        }
        self.update_extra_acked(now, acked);
        match self.mode {
            Mode::ProbeBw(phase, since) => self.update_cycle_phase(now, phase, since, in_flight),
            Mode::Startup if self.full_bandwidth_reached => self.mode = Mode::Drain,
            Mode::Drain if in_flight <= self.bdp(1.0) => self.enter_probe_bw(now),
            _ => {}
        }
        self.loss_since_ack = false;
        self.update_min_rtt(now, now - sent, in_flight);
        self.set_window(acked, in_flight);
    }

    fn on_loss(&mut self, _now: Instant, _sent: Instant, bytes: u64, _persistent: bool) {
        self.loss_since_ack = true;
        if self.conservation_end.is_none() && !matches!(self.mode, Mode::ProbeRtt(_)) {
            self.prior_window = self.window;
            self.conservation_end = Some(self.delivered + self.window);
            // The next acknowledgement reports what is in flight.
            self.window = 0;
        }
        self.window = self.window.saturating_sub(bytes).max(MIN_WINDOW);
    }

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        self.window
    }

    fn measured(&self) -> Measured {
        Measured { phase: "bbr", window: self.window, ..Measured::default() }
    }
}

impl Controller for Bbr {
    fn transport(&self) -> TransportProfile {
        TCP
    }

    fn pacing_rate(&self) -> Option<f64> {
        (self.rate() > 0.0).then(|| self.rate() * self.gains().0 * PACING_MARGIN * self.rate_overestimate)
    }
}
