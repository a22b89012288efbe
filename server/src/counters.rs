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
    /// Adds how an exchange of this operation ended.
    pub(crate) fn exchange_ended(&self, operation: &'static str, add: impl FnOnce(&mut Outcomes)) {
        add(self.0.lock().exchanges.entry(operation).or_default());
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
