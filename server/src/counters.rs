//! Counts what happened since the start, for the status file.
//!
//! Must never decide anything: it only counts.

use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// How exchanges of one operation ended.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

/// How one exchange ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CountedOutcome {
    Responded,
    Failed,
    Cancelled,
}

/// Events of all connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    exchanges: Mutex<BTreeMap<&'static str, Outcomes>>,
    /// Connections that were closed before their client was authenticated.
    refused: AtomicU64,
    /// Connections of clients that speak another version of the wire.
    other_versions: AtomicU64,
    /// Connections whose stated rate was above the operator's limit.
    capped_rates: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    /// By operation.
    exchanges: BTreeMap<&'static str, Outcomes>,
    refused: u64,
    other_versions: u64,
    capped_rates: u64,
}

impl Counters {
    pub(crate) fn exchange_ended(&self, operation: &'static str, outcome: CountedOutcome) {
        let mut exchanges = self.exchanges.lock();
        let outcomes = exchanges.entry(operation).or_default();
        match outcome {
            CountedOutcome::Responded => outcomes.answered += 1,
            CountedOutcome::Failed => outcomes.failed += 1,
            CountedOutcome::Cancelled => outcomes.cancelled += 1,
        }
    }

    pub(crate) fn connection_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn version_refused(&self) {
        self.other_versions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rate_capped(&self) {
        self.capped_rates.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            exchanges: self.exchanges.lock().clone(),
            refused: self.refused.load(Ordering::Relaxed),
            other_versions: self.other_versions.load(Ordering::Relaxed),
            capped_rates: self.capped_rates.load(Ordering::Relaxed),
        }
    }
}
