//! Counts what happened since the start, for `/health` and `/metrics`.
//!
//! Must never decide anything: it counts, and stores the last reason.

use crate::status::reason::Cause;
use crate::status::recent_errors::{Advice, RecentErrors};
use docxy_host::metrics::{Histograms, LineHistograms, durations, durations_by_label};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::{CleanText, clean};
use docxy_transport::Leg;
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counter(AtomicU64);

/// Such a number for each name.
#[derive(Debug, Default)]
pub(crate) struct ByName(Mutex<BTreeMap<&'static str, u64>>);

/// Such a number for each hop and kind of a fault.
#[derive(Debug, Default)]
pub(crate) struct ByFault(Mutex<HashMap<(Hop, FaultKind), u64>>);

/// Such a number for each status of a response.
#[derive(Debug, Default)]
pub(crate) struct ByStatus(Mutex<BTreeMap<u16, u64>>);

/// The bytes of one leg, with its own headers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LegBytes {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

/// Bytes of bodies that have ended, by where they came from.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SourceBytes {
    pub(crate) tunnel: Counter,
    pub(crate) cache: Counter,
}

/// The last event of a kind.
#[derive(Debug, Default)]
pub(crate) struct LastEvent(Mutex<Option<Event>>);

#[derive(Debug, Clone, Serialize)]
struct Event {
    at: Timestamp,
    reason: CleanText,
}

/// Events of the tunnel. Clones share them.
pub(crate) type TunnelCounters = Arc<TunnelEvents>;

/// Events of requests and response bodies. Clones share them.
pub(crate) type TransferCounters = Arc<TransferEvents>;

/// The field names are those of `/health`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TunnelEvents {
    /// The tunnel came up.
    pub(crate) connects: Counter,
    /// The tunnel was lost.
    pub(crate) disconnects: Counter,
    pub(crate) last_disconnect: LastEvent,
    /// The connection became silent, so another one was dialed.
    pub(crate) silent_connections: Counter,
    /// The version of the server, at the last connect.
    #[serde(serialize_with = "without_time")]
    pub(crate) server_version: LastEvent,
    pub(crate) quic: LegBytes,
    pub(crate) tcp: LegBytes,
    #[serde(skip)]
    pub(crate) line: LineHistograms,
    #[serde(skip)]
    pub(crate) recent: RecentErrors,
}

/// The field names are those of `/health`.
#[derive(Debug, Serialize)]
pub(crate) struct TransferEvents {
    /// Responses that the client sent without a request to the server.
    pub(crate) local_responses: Counter,
    /// Bodies that were interrupted and continue, or wait to.
    pub(crate) interruptions: Counter,
    /// Bodies that ended incomplete.
    pub(crate) failures: Counter,
    pub(crate) last_failure: LastEvent,
    /// Expired tokens that were replaced in the middle of a transfer.
    pub(crate) tokens_renewed: Counter,
    /// Manifests that came from another server, since the first had no pull left.
    pub(crate) pulls_of_others: Counter,
    /// Bytes of content that came through the tunnel.
    pub(crate) bytes_crossed: Counter,
    /// Bytes of blobs that engines got from the disk.
    pub(crate) bytes_from_disk: Counter,
    /// Bytes of blobs that another client in this network has brought, to engines that waited for them.
    pub(crate) bytes_from_neighbours: Counter,
    /// Bytes of blobs that engines got while another engine's request brought them.
    pub(crate) bytes_shared: Counter,
    /// Requests to registries by each known engine.
    pub(crate) engines: ByName,
    /// Responses to engines.
    #[serde(skip)]
    pub(crate) responses: ByStatus,
    /// Requests that were sent again, by what had failed.
    #[serde(skip)]
    pub(crate) retries: ByFault,
    /// The bytes of response bodies. [`TransferRegistry`](crate::transfer::TransferRegistry) adds those that run.
    #[serde(skip)]
    pub(crate) bytes: SourceBytes,
    /// Until the first byte of a body, by operation.
    #[serde(skip)]
    pub(crate) first_byte: Histograms,
    /// From the request for a tag to the last layer.
    #[serde(skip)]
    pub(crate) pull: Histogram,
    #[serde(skip)]
    pub(crate) recent: RecentErrors,
}

impl Default for TransferEvents {
    fn default() -> Self {
        Self {
            local_responses: Counter::default(),
            interruptions: Counter::default(),
            failures: Counter::default(),
            last_failure: LastEvent::default(),
            tokens_renewed: Counter::default(),
            pulls_of_others: Counter::default(),
            bytes_crossed: Counter::default(),
            bytes_from_disk: Counter::default(),
            bytes_from_neighbours: Counter::default(),
            bytes_shared: Counter::default(),
            engines: ByName::default(),
            responses: ByStatus::default(),
            retries: ByFault::default(),
            bytes: SourceBytes::default(),
            first_byte: durations_by_label(),
            pull: durations(),
            recent: RecentErrors::default(),
        }
    }
}

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ByName {
    pub(crate) fn increment(&self, name: &'static str) {
        *self.0.lock().entry(name).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }
}

impl ByFault {
    pub(crate) fn increment(&self, fault: &Fault) {
        *self.0.lock().entry((fault.hop, fault.kind)).or_default() += 1;
    }

    pub(crate) fn all(&self) -> HashMap<(Hop, FaultKind), u64> {
        self.0.lock().clone()
    }
}

impl ByStatus {
    pub(crate) fn increment(&self, status: StatusCode) {
        *self.0.lock().entry(status.as_u16()).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<u16, u64> {
        self.0.lock().clone()
    }
}

impl SourceBytes {
    /// Adds a body, of which so many bytes did not cross the tunnel.
    pub(crate) fn add(&self, bytes: u64, cached: u64) {
        self.tunnel.add(bytes.saturating_sub(cached));
        self.cache.add(cached);
    }
}

impl LastEvent {
    /// `text` may be a server's: it is cleaned and shortened.
    pub(crate) fn set(&self, text: impl Display) {
        *self.0.lock() = Some(Event { at: Timestamp::now(), reason: clean(text) });
    }
}

impl Serialize for ByName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.lock().serialize(serializer)
    }
}

impl Serialize for LastEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.lock().serialize(serializer)
    }
}

fn without_time<S: Serializer>(event: &LastEvent, serializer: S) -> Result<S::Ok, S::Error> {
    event.0.lock().as_ref().map(|event| &event.reason).serialize(serializer)
}

impl TunnelEvents {
    pub(crate) const fn leg(&self, leg: Leg) -> &LegBytes {
        match leg {
            Leg::Quic => &self.quic,
            Leg::Tcp => &self.tcp,
        }
    }

    pub(crate) fn disconnected(&self, reason: impl Display) {
        self.disconnects.increment();
        let cause = Cause::Fault { hop: Hop::Tunnel, kind: FaultKind::Down };
        self.recent.record(format_args!("tunnel: {reason}"), cause, None, Advice::Wait);
        self.last_disconnect.set(reason);
    }
}

impl TransferEvents {
    pub(crate) fn failed(&self, fault: &Fault, image: String) {
        self.failures.increment();
        self.recent.record_fault(fault, Some(image));
        self.last_failure.set(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_last_reason_is_clean_and_has_a_time() {
        let events = TunnelEvents::default();
        assert_eq!(json!(events)["last_disconnect"], Value::Null);
        events.disconnected("first");
        events.disconnected("second\r\nline");
        events.server_version.set("1.2");
        let json = json!(events);
        assert_eq!((&json["disconnects"], &json["server_version"]), (&json!(2), &json!("1.2")));
        let last = &json["last_disconnect"];
        let reason = last["reason"].as_str().unwrap();
        assert!(last["at"].is_string() && reason.starts_with("second") && !reason.contains('\n'), "{last}");
    }
}
