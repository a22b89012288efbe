//! What the application has to send, and when.

use crate::{MTU, Time};
use std::time::Duration;

/// How much there is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    Endless,
    Nothing,
    /// So many bits a second.
    Limited(u64),
}

/// A plan of supplies, each from its time on.
pub(crate) struct Source {
    plan: Vec<(Time, Supply)>,
    /// Of a limited supply: when its next packet is there.
    ready: Time,
}

impl Source {
    pub(crate) fn new(plan: &[(Time, Supply)]) -> Self {
        let mut plan = plan.to_vec();
        plan.reverse();
        Self { ready: Time::ZERO, plan }
    }

    /// Whether a packet can be filled. If so, `take` it.
    pub(crate) fn has(&mut self, now: Time) -> bool {
        while let [.., (next, _), _] = self.plan[..]
            && next <= now
        {
            self.plan.pop();
            self.ready = next;
        }
        match self.plan.last() {
            Some((from, supply)) if *from <= now => match supply {
                Supply::Endless => true,
                Supply::Nothing => false,
                Supply::Limited(_) => self.ready <= now,
            },
            _ => false,
        }
    }

    pub(crate) fn take(&mut self) {
        if let Some((_, Supply::Limited(rate))) = self.plan.last() {
            self.ready += Duration::from_nanos(MTU * 8_000_000_000 / rate);
        }
    }

    /// When it is worth asking again, if there was nothing.
    pub(crate) fn wakes(&self, now: Time) -> Time {
        let phases = self.plan.iter().map(|(from, _)| *from);
        let limited = matches!(self.plan.last(), Some((_, Supply::Limited(_)))).then_some(self.ready);
        phases.chain(limited).filter(|time| *time > now).min().unwrap_or(Time::MAX)
    }
}
