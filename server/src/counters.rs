//! Counts what happened since the start, for the status file.
//!
//! Must never decide anything: it only counts.

use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;

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
pub(crate) struct Counters(Mutex<Counts>);

/// The counts at one moment.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Counts {
    /// By operation.
    exchanges: BTreeMap<&'static str, Outcomes>,
    /// Connections that were closed before their client was authenticated.
    refused: u64,
    /// Connections of clients that speak another version of the wire.
    other_versions: u64,
    /// Connections whose stated rate was above the operator's limit.
    capped_rates: u64,
}

impl Counters {
    pub(crate) fn exchange_ended(&self, operation: &'static str, outcome: CountedOutcome) {
        let mut counts = self.0.lock();
        let outcomes = counts.exchanges.entry(operation).or_default();
        match outcome {
            CountedOutcome::Responded => outcomes.answered += 1,
            CountedOutcome::Failed => outcomes.failed += 1,
            CountedOutcome::Cancelled => outcomes.cancelled += 1,
        }
    }

    pub(crate) fn connection_refused(&self) {
        self.0.lock().refused += 1;
    }

    pub(crate) fn version_refused(&self) {
        self.0.lock().other_versions += 1;
    }

    pub(crate) fn rate_capped(&self) {
        self.0.lock().capped_rates += 1;
    }

    pub(crate) fn snapshot(&self) -> Counts {
        self.0.lock().clone()
    }
}
