//! How long an interrupted transfer waits for its next byte. The setting can change while transfers run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The setting. Clones share it. Precise to the millisecond.
#[derive(Debug, Clone)]
pub(crate) struct StallTimeout(Arc<AtomicU64>);

impl StallTimeout {
    pub(crate) fn new(stall_timeout: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(milliseconds(stall_timeout))))
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, stall_timeout: Duration) {
        self.0.store(milliseconds(stall_timeout), Ordering::Relaxed);
    }
}

fn milliseconds(stall_timeout: Duration) -> u64 {
    u64::try_from(stall_timeout.as_millis()).unwrap_or(u64::MAX)
}
