//! Counts what happened since the start, for the status file, the admin page and `/metrics`.
//!
//! Must never decide anything: it only counts.

use docxy_host::metrics::{Histograms, LineHistograms, durations, durations_by_label};
use docxy_host::web_page::Cause;
use docxy_protocol::fault::Fault;
use docxy_protocol::text::{CleanText, clean};
use docxy_transport::Leg;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// The last failures that are kept.
const FAILURES_MAX: usize = 20;

/// How exchanges of one operation ended.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

/// The bytes of one leg, with its own headers.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct LegBytes {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// An exchange that failed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    at: Timestamp,
    reason: CleanText,
    /// The same as a value.
    cause: Cause,
}

/// Events of all connections.
#[derive(Debug)]
pub(crate) struct Counters {
    counts: Mutex<Counts>,
    /// The last ones, the newest first.
    failures: Mutex<VecDeque<Failure>>,
    /// The lines to all clients.
    pub(crate) line: LineHistograms,
    /// Until there was a response, by operation.
    pub(crate) first_byte: Histograms,
    /// Until it was sent whole.
    pub(crate) exchange: Histograms,
    /// From the first request of a pull to the end of the last one.
    pub(crate) pull: Histogram,
}

/// The counts at one moment.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Counts {
    /// By operation.
    pub(crate) exchanges: BTreeMap<&'static str, Outcomes>,
    /// Connections that were closed before their client was authenticated.
    pub(crate) refused: u64,
    /// Connections of clients that speak another version of the wire.
    pub(crate) other_versions: u64,
    /// Connections whose stated rate was above the operator's limit.
    pub(crate) capped_rates: u64,
    /// What clients were sent and have sent.
    pub(crate) quic: LegBytes,
    pub(crate) tcp: LegBytes,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            failures: Mutex::default(),
            line: LineHistograms::default(),
            first_byte: durations_by_label(),
            exchange: durations_by_label(),
            pull: durations(),
        }
    }
}

impl Counters {
    /// Adds how an exchange of this operation ended.
    pub(crate) fn exchange_ended(&self, operation: &'static str, add: impl FnOnce(&mut Outcomes)) {
        add(self.counts.lock().exchanges.entry(operation).or_default());
    }

    /// An exchange failed with this fault.
    pub(crate) fn failed(&self, fault: &Fault) {
        let mut failures = self.failures.lock();
        failures.truncate(FAILURES_MAX - 1);
        failures.push_front(Failure { at: Timestamp::now(), reason: clean(fault), cause: fault.into() });
    }

    pub(crate) fn connection_refused(&self) {
        self.counts.lock().refused += 1;
    }

    pub(crate) fn version_refused(&self) {
        self.counts.lock().other_versions += 1;
    }

    pub(crate) fn rate_capped(&self) {
        self.counts.lock().capped_rates += 1;
    }

    /// A connection has carried so many bytes more.
    pub(crate) fn carried(&self, leg: Leg, sent: u64, received: u64) {
        let mut counts = self.counts.lock();
        let bytes = match leg {
            Leg::Quic => &mut counts.quic,
            Leg::Tcp => &mut counts.tcp,
        };
        bytes.sent += sent;
        bytes.received += received;
    }

    pub(crate) fn snapshot(&self) -> Counts {
        self.counts.lock().clone()
    }

    /// The last failures, the newest first.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        self.failures.lock().iter().cloned().collect()
    }
}
