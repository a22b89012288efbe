//! What an application has to send, and when.

use crate::{MTU, Time};
use std::time::Duration;

/// How much data is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    Unlimited,
    Idle,
    /// Bits per second.
    RateLimited(u64),
}

/// A schedule of supplies, each with its start time.
pub(crate) struct TrafficSource {
    schedule: Vec<(Time, Supply)>,
    /// When a rate-limited supply has its next packet.
    next_packet: Time,
}

impl TrafficSource {
    pub(crate) fn new(schedule: &[(Time, Supply)]) -> Self {
        let mut schedule = schedule.to_vec();
        schedule.reverse();
        Self { next_packet: Time::ZERO, schedule }
    }

    /// Whether there is data for a packet. If so, call `take`.
    pub(crate) fn has_packet(&mut self, now: Time) -> bool {
        while let [.., (next, _), _] = self.schedule[..]
            && next <= now
        {
            self.schedule.pop();
            self.next_packet = next;
        }
        match self.schedule.last() {
            Some((from, supply)) if *from <= now => match supply {
                Supply::Unlimited => true,
                Supply::Idle => false,
                Supply::RateLimited(_) => self.next_packet <= now,
            },
            _ => false,
        }
    }

    pub(crate) fn take(&mut self) {
        if let Some((_, Supply::RateLimited(rate))) = self.schedule.last() {
            self.next_packet += Duration::from_nanos(MTU * 8_000_000_000 / rate);
        }
    }

    /// When to call again, if there was no data.
    pub(crate) fn next_wakeup(&self, now: Time) -> Time {
        let phases = self.schedule.iter().map(|(from, _)| *from);
        let limited =
            matches!(self.schedule.last(), Some((_, Supply::RateLimited(_)))).then_some(self.next_packet);
        phases.chain(limited).filter(|time| *time > now).min().unwrap_or(Time::MAX)
    }
}
