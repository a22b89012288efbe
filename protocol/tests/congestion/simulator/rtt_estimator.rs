//! quinn-proto's RTT estimator (RFC 9002, section 5).

use crate::{Time, ms};
use std::time::Duration;

/// Maximum time for which a receiver may delay an acknowledgement.
pub(crate) const MAX_ACK_DELAY: Duration = ms(25);

#[derive(Clone, Copy)]
pub(crate) struct RttEstimator {
    latest: Duration,
    smoothed: Option<Duration>,
    rttvar: Duration,
    min_rtt: Duration,
}

impl RttEstimator {
    pub(crate) fn new(initial: Duration) -> Self {
        Self { latest: initial, smoothed: None, rttvar: initial / 2, min_rtt: initial }
    }

    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(self.latest)
    }

    /// Time threshold of loss detection (RFC 9002, section 6.1.2).
    pub(crate) fn loss_delay(&self) -> Duration {
        self.smoothed().max(self.latest).mul_f32(1.2).max(ms(1))
    }

    /// Probe timeout (RFC 9002, section 6.2.1).
    pub(crate) fn probe_timeout(&self) -> Duration {
        self.smoothed() + (4 * self.rttvar).max(ms(1)) + MAX_ACK_DELAY
    }

    pub(crate) fn update(&mut self, now: Time, sent: Time, ack_delay: Duration) {
        self.latest = now - sent;
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(self.latest);
            self.rttvar = self.latest / 2;
            self.min_rtt = self.latest;
            return;
        };
        self.min_rtt = self.min_rtt.min(self.latest);
        let ack_delay = ack_delay.min(MAX_ACK_DELAY);
        let adjusted =
            if self.min_rtt + ack_delay <= self.latest { self.latest - ack_delay } else { self.latest };
        self.rttvar = (3 * self.rttvar + smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = Some((7 * smoothed + adjusted) / 8);
    }
}
