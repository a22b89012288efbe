//! Until when an engine waits for the head of a response.

use crate::tunnel::Deadline;
use docxy_protocol::limits::PATIENCE_MAX;
use docxy_protocol::patience::Patience;
use std::time::{Duration, Instant};

/// Until when a request waits for a session, and then for the head of its response.
#[derive(Debug, Clone, Copy)]
pub struct ResponseDeadline {
    pub(super) session: Deadline,
    head: HeadLimit,
}

#[derive(Debug, Clone, Copy)]
enum HeadLimit {
    /// The engine gives up soon after this.
    At(Instant),
    /// The engine has no limit of its own: this long after the request was sent.
    AfterSending(Duration),
}

impl ResponseDeadline {
    /// For an engine that gives up soon after this time, whatever it waits for.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self { session: Deadline::after(duration), head: HeadLimit::At(Instant::now() + duration) }
    }

    /// For an engine that waits for any time: until `session` for a session, and then this long for the response.
    #[must_use]
    pub fn patient(session: Deadline, head: Duration) -> Self {
        Self { session, head: HeadLimit::AfterSending(head.min(PATIENCE_MAX)) }
    }

    /// Until when the response to a request that is sent now is waited for.
    pub(super) fn head(self, now: Instant) -> Instant {
        match self.head {
            HeadLimit::At(at) => at,
            HeadLimit::AfterSending(duration) => now + duration,
        }
    }

    /// How long that is, for the server.
    pub(super) fn patience(self, now: Instant) -> Patience {
        Patience::new(self.head(now).saturating_duration_since(now))
    }
}
