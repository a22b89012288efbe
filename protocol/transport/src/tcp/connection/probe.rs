//! What a connection learns by its pings: the round-trip time, and whether the peer answers.
//!
//! A client pings when it has received nothing for a while, and with its requests: whatever the server does with
//! them, it answers a ping at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Default)]
pub(in super::super) struct Probe {
    is_wanted: AtomicBool,
    sent: AtomicU64,
    rtt_us: AtomicU64,
}

impl Probe {
    /// A first estimate: the time that the connection took to open.
    pub(in super::super) fn starting_with(rtt: Duration) -> Self {
        Self { rtt_us: AtomicU64::new(micros(rtt)), ..Self::default() }
    }

    /// The smoothed round-trip time.
    pub(in super::super) fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt_us.load(Ordering::Relaxed))
    }

    /// Pings that were sent.
    pub(in super::super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Asks for a ping.
    pub(in super::super) fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether one is asked for.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    pub(super) fn has_sent(&self) {
        self.is_wanted.store(false, Ordering::Relaxed);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a sample, with the weight of RFC 6298, section 2.
    pub(super) fn measured(&self, sample: Duration) {
        let old = self.rtt();
        let rtt = if old.is_zero() { sample } else { (old * 7 + sample) / 8 };
        self.rtt_us.store(micros(rtt), Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
