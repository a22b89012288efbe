//! What the application has to send, and when.

use crate::{MTU, Time};
use std::time::Duration;

/// How much there is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    Unlimited,
    Idle,
    /// So many bits a second.
    RateLimited(u64),
}

/// A plan of supplies, each from its time on.
pub(crate) struct TrafficSource {
    schedule: Vec<(Time, Supply)>,
    /// Of a limited supply: when its next packet is there.
    next_packet: Time,
}

impl TrafficSource {
    pub(crate) fn new(schedule: &[(Time, Supply)]) -> Self {
        let mut schedule = schedule.to_vec();
        schedule.reverse();
        Self { next_packet: Time::ZERO, schedule }
    }

    /// Whether a packet can be filled. If so, `take` it.
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

    /// When it is worth asking again, if there was nothing.
    pub(crate) fn next_wakeup(&self, now: Time) -> Time {
        let phases = self.schedule.iter().map(|(from, _)| *from);
        let limited =
            matches!(self.schedule.last(), Some((_, Supply::RateLimited(_)))).then_some(self.next_packet);
        phases.chain(limited).filter(|time| *time > now).min().unwrap_or(Time::MAX)
    }
}
