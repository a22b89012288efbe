//! How long a transfer waits for its next byte, as a setting that can change while transfers run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The setting. All clones are one; precise to the millisecond.
#[derive(Debug, Clone)]
pub(crate) struct PatienceSetting(Arc<AtomicU64>);

impl PatienceSetting {
    pub(crate) fn new(patience: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(milliseconds(patience))))
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, patience: Duration) {
        self.0.store(milliseconds(patience), Ordering::Relaxed);
    }
}

fn milliseconds(patience: Duration) -> u64 {
    u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)
}
