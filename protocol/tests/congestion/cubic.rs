//! CUBIC as RFC 9438 describes it, over TCP, as a competing flow.

use crate::MTU;
use crate::simulator::sender::{Controller, TCP, TransportProfile};
use docxy_protocol::congestion::{Algorithm, Measured};
use std::time::{Duration, Instant};

const C: f64 = 0.4;
const BETA: f64 = 0.7;

/// Windows are in packets.
pub(crate) struct Cubic {
    window: f64,
    slow_start_threshold: f64,
    window_max: f64,
    epoch_start: Instant,
    rtt: Duration,
    /// The window that Reno would have.
    reno_window: f64,
}

impl Cubic {
    pub(crate) fn new(now: Instant) -> Self {
        let rtt = Duration::from_millis(100);
        Self {
            window: 10.0,
            slow_start_threshold: f64::INFINITY,
            window_max: 0.0,
            epoch_start: now,
            rtt,
            reno_window: 0.0,
        }
    }
}

impl Algorithm for Cubic {
    fn on_sent(&mut self, _now: Instant, _bytes: u64) {}

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.rtt = now - sent;
        let acked = bytes as f64 / MTU as f64;
        if self.window < self.slow_start_threshold {
            self.window += acked;
            return;
        }
        let k = (self.window_max * (1.0 - BETA) / C).cbrt();
        let since = (now - self.epoch_start + self.rtt).as_secs_f64();
        let target = (C * (since - k).powi(3) + self.window_max).clamp(self.window, 1.5 * self.window);
        self.window += acked * (target - self.window) / self.window;
        self.reno_window += acked * 3.0 * (1.0 - BETA) / (1.0 + BETA) / self.reno_window.max(self.window);
        self.window = self.window.max(self.reno_window);
    }

    fn on_end_acks(&mut self, _now: Instant, _in_flight: u64, _app_limited: bool) {}

    fn on_loss(&mut self, now: Instant, sent: Instant, _bytes: u64, _persistent: bool) {
        if sent <= self.epoch_start {
            return;
        }
        self.window_max = self.window;
        self.window = (self.window * BETA).max(2.0);
        self.reno_window = self.window;
        self.slow_start_threshold = self.window;
        self.epoch_start = now;
    }

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        (self.window * MTU as f64) as u64
    }

    fn measured(&self) -> Measured {
        Measured { phase: "cubic", window: self.window(), ..Measured::default() }
    }
}

impl Controller for Cubic {
    fn transport(&self) -> TransportProfile {
        TCP
    }
}
