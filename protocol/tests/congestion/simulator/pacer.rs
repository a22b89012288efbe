//! A copy of quinn-proto 0.11.19's pacer (`connection/pacing.rs`), for full packets.

use crate::{MTU, Time};
use std::time::Duration;

/// A token bucket that fills at 1.25 windows per round trip.
pub(crate) struct Pacer {
    capacity: u64,
    window: u64,
    tokens: u64,
    updated: Time,
}

impl Pacer {
    pub(crate) fn new(srtt: Duration, window: u64) -> Self {
        let capacity = capacity(srtt, window);
        Self { capacity, window, tokens: capacity, updated: Time::ZERO }
    }

    /// Takes the tokens of a packet.
    pub(crate) fn on_transmit(&mut self) {
        self.tokens = self.tokens.saturating_sub(MTU);
    }

    /// When to call again, if a packet may not be sent now.
    pub(crate) fn delay(&mut self, now: Time, srtt: Duration, window: u64) -> Option<Time> {
        if window != self.window {
            self.capacity = capacity(srtt, window);
            self.tokens = self.capacity.min(self.tokens);
            self.window = window;
        }
        if self.tokens >= MTU {
            return None;
        }
        let window = u32::try_from(window).ok()?;
        let elapsed = (now - self.updated).as_secs_f64() / srtt.as_secs_f64();
        let earned = (f64::from(window) * 1.25 * elapsed) as u64;
        self.tokens = (self.tokens + earned).min(self.capacity);
        self.updated = now;
        if self.tokens >= MTU {
            return None;
        }
        let missing = (self.capacity - self.tokens) as u32;
        Some(timer_fires_at(now + srtt.saturating_mul(missing) / window / 5 * 4))
    }
}

/// When tokio's timer fires for a deadline: it counts whole milliseconds and is never early.
fn timer_fires_at(at: Time) -> Time {
    const TICK: Duration = Duration::from_millis(1);
    TICK * (at.as_micros() / TICK.as_micros() + 1) as u32
}

/// The window that results in a pacing rate of `rate` bytes per second.
pub(crate) fn window_for_rate(rate: f64, srtt: Duration) -> u64 {
    (rate * srtt.as_secs_f64() / 1.25) as u64
}

/// Bucket size in bytes: 2 ms at one window per round trip.
fn capacity(srtt: Duration, window: u64) -> u64 {
    let burst = u128::from(window) * 2_000_000 / srtt.as_nanos().max(1);
    (burst as u64).clamp(10 * MTU, 256 * MTU)
}
