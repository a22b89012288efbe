//! Until when a caller waits for a connection.

use std::time::{Duration, Instant};

/// Until when a caller waits for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// When it is.
    pub(super) at: Instant,
    /// Whether a caller waits even if there never was a connection.
    pub(super) includes_first_connect: bool,
}

impl Deadline {
    /// This long from now, for a caller with an alternative, like an engine: an error comes at once if there
    /// never was a tunnel, since waiting does not repair that.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self { at: Instant::now() + duration, includes_first_connect: false }
    }

    /// This long from now, for a command that starts the tunnel itself: waits for the first connection too.
    #[must_use]
    pub fn including_first_connect(duration: Duration) -> Self {
        Self { includes_first_connect: true, ..Self::after(duration) }
    }

    /// At this time, for a transfer that has already begun.
    #[must_use]
    pub const fn at(at: Instant) -> Self {
        Self { at, includes_first_connect: false }
    }
}
