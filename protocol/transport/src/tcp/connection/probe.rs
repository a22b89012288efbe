//! What a connection learns by its pings: the round-trip time, and whether the peer answers.
//!
//! A client pings when it has received nothing for a while, and with its requests: whatever the server does with
//! them, it answers a ping at once.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Samples whose least is the round-trip time: a program that waits for its processor answers late.
const SAMPLES: usize = 8;

/// An answer that takes so much more than the round-trip time has waited.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(in super::super) struct Probe {
    is_wanted: AtomicBool,
    sent: AtomicU64,
    /// The last ones, the oldest first.
    samples: Mutex<VecDeque<Duration>>,
    /// When the last answer came that did not wait.
    prompt_answer: Mutex<Option<Instant>>,
}

impl Probe {
    /// With a first sample: the time that the handshake of TLS took. (That of TCP ends at a relay, if there is one.)
    pub(in super::super) fn starting_with(rtt: Duration) -> Self {
        Self { samples: Mutex::new(VecDeque::from([rtt])), ..Self::default() }
    }

    /// The round-trip time, if it is known.
    pub(in super::super) fn rtt(&self) -> Option<Duration> {
        self.samples.lock().iter().min().copied()
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

    /// Whether a ping was answered without a wait since then.
    pub(in super::super) fn has_answered_since(&self, then: Instant) -> bool {
        self.prompt_answer.lock().is_some_and(|answered| answered > then)
    }

    /// Adds a sample of a path with this round-trip time.
    pub(super) fn measured(&self, sample: Duration, rtt: Duration, now: Instant) {
        if sample <= rtt + ANSWER_TIME_MAX {
            *self.prompt_answer.lock() = Some(now);
        }
        let mut samples = self.samples.lock();
        samples.push_back(sample);
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_count_and_a_longer_path_does() {
        let probe = Probe::starting_with(Duration::from_millis(10));
        let (now, rtt) = (Instant::now(), Duration::from_millis(10));
        probe.measured(Duration::from_millis(600), rtt, now);
        assert!(!probe.has_answered_since(now - rtt));
        assert_eq!(probe.rtt(), Some(Duration::from_millis(10)));
        for _ in 0..SAMPLES {
            probe.measured(Duration::from_millis(200), rtt, now);
        }
        assert!(probe.has_answered_since(now - rtt) && !probe.has_answered_since(now));
        assert_eq!(probe.rtt(), Some(Duration::from_millis(200)));
    }
}
