//! The running transfers, for `/health` and whatever shows them: what is transferred, how far it is, how fast,
//! over which server, and what it waits for.
//!
//! Only records. Must never lock anything for a chunk: the bytes of a transfer are counted in an atomic.

mod guard;
mod rate_meter;
#[cfg(test)]
mod tests;

pub(crate) use guard::TransferGuard;
pub(super) use guard::Waiting;

use crate::status::counters::TransferCounters;
use crate::status::pulls::{End, Event, Finished, Moment, Progress, PullReport, Pulls, Wanted};
use crate::status::reason::Reason;
use docxy_host::logging::spans;
use docxy_host::random::random_u64;
use docxy_protocol::fault::Fault;
use docxy_protocol::name::Reference;
use docxy_protocol::request::{Operation, Request};
use jiff::Timestamp;
use parking_lot::Mutex;
use rate_meter::RateMeter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// The transfers that run: each from the request to the last byte of its response. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct TransferRegistry(Arc<RunningTransfers>);

#[derive(Debug, Default)]
struct RunningTransfers {
    counters: TransferCounters,
    next_id: AtomicU64,
    entries: Mutex<BTreeMap<u64, Arc<Entry>>>,
    /// Locked after `entries`, if both are.
    pulls: Mutex<Pulls>,
    /// The number of changes so far, except bytes.
    changes: watch::Sender<u64>,
}

/// A running transfer, at one moment. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TransferSnapshot {
    /// Its number. No other has it.
    #[serde(skip)]
    pub id: u64,
    /// What was requested: `manifest`, `blob`, …
    pub operation: &'static str,
    /// `registry/repository[:tag]`, or the registry alone.
    pub image: String,
    /// The digest of the content, if the request named it.
    pub digest: Option<String>,
    /// The bytes of the body that were received.
    pub bytes: u64,
    /// The bytes of the body in all, if that is known.
    pub length: Option<u64>,
    /// The current rate.
    pub bytes_per_second: u64,
    /// Since when it runs.
    pub since: Timestamp,
    /// The server over which it runs.
    pub server: Option<SocketAddr>,
    /// What it waits for. `None` while its body is received.
    pub waits_for: Option<WaitsFor>,
    /// How long no byte has arrived, while it waits.
    pub waits_seconds: Option<u64>,
    /// Why it waits, if something failed.
    pub(crate) reason: Option<Reason>,
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "lowercase")]
pub enum WaitsFor {
    /// A session.
    Tunnel,
    /// A permit of the session: too many requests are under way.
    Permit,
    /// The response of the server, or the time of the next attempt.
    Server,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    started: Instant,
    received: AtomicU64,
    /// The received bytes that did not cross the tunnel for this transfer.
    cached: AtomicU64,
    /// Those of `cached` that a neighbour brought.
    brought: AtomicU64,
    rate: RateMeter,
    state: Mutex<State>,
}

/// What does not change with each chunk.
#[derive(Debug)]
struct State {
    /// Without what is measured: bytes, rate, and seconds.
    snapshot: TransferSnapshot,
    waits_since: Option<Instant>,
    /// Whether the whole content comes from what this client has cached.
    is_cached: bool,
    /// Without its bytes.
    end: End,
}

impl TransferRegistry {
    /// No transfers. Their bytes are counted in `counters`.
    pub(crate) fn new(counters: TransferCounters) -> Self {
        let pulls = Mutex::new(Pulls::new(random_u64()));
        Self(Arc::new(RunningTransfers { counters, pulls, ..RunningTransfers::default() }))
    }

    /// Adds a transfer of this engine until the guard is dropped.
    pub(crate) fn begin(&self, request: &Request, engine: Option<&'static str>) -> TransferGuard {
        let snapshot = describe(request, self.0.next_id.fetch_add(1, Ordering::Relaxed));
        let entry = Arc::new(Entry {
            id: snapshot.id,
            started: Instant::now(),
            received: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            brought: AtomicU64::new(0),
            rate: RateMeter::default(),
            state: Mutex::new(State { snapshot, waits_since: None, is_cached: false, end: End::default() }),
        });
        self.0.entries.lock().insert(entry.id, Arc::clone(&entry));
        let begin = |wanted| self.0.pulls.lock().begin(entry.id, &wanted, Moment::now());
        let trace = Wanted::of(request, engine).map(begin).unwrap_or_default();
        let span = spans::request(trace, request.operation.name(), &entry.state.lock().snapshot.image);
        self.changed();
        TransferGuard { registry: self.clone(), entry, trace, engine, _span: span }
    }

    /// The transfers, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<TransferSnapshot> {
        self.0.entries.lock().values().map(|entry| entry.snapshot()).collect()
    }

    /// The running pulls, oldest first, and those that have ended, latest first.
    pub(crate) fn pulls(&self) -> (Vec<PullReport>, Vec<Finished>) {
        let entries = self.0.entries.lock();
        let mut pulls = self.0.pulls.lock();
        let now = Moment::now();
        pulls.tick(now);
        (pulls.running(now, |id| entries.get(&id).map(|entry| entry.progress())), pulls.finished())
    }

    /// The bytes of all bodies since the start, by where they came from.
    pub(crate) fn bytes_by_source(&self) -> [(&'static str, u64); 4] {
        let entries = self.0.entries.lock();
        let received: u64 = entries.values().map(|entry| entry.received.load(Ordering::Relaxed)).sum();
        let cached: u64 = entries.values().map(|entry| entry.cached()).sum();
        let bytes = &self.0.counters.bytes;
        let from_disk = self.0.counters.bytes_from_disk.get();
        let from_neighbours = self.0.counters.bytes_from_neighbours.get();
        [
            ("tunnel", bytes.tunnel.get() + received.saturating_sub(cached)),
            ("cache", (bytes.cache.get() + cached).saturating_sub(from_disk + from_neighbours)),
            ("disk", from_disk),
            // Another client in this network.
            ("neighbour", from_neighbours),
        ]
    }

    /// What has happened to pulls since the last call.
    pub(crate) fn pull_events(&self) -> VecDeque<Event> {
        let mut pulls = self.0.pulls.lock();
        pulls.tick(Moment::now());
        pulls.take_events()
    }

    /// Forgets a pull that has ended, or all of them.
    pub(crate) fn remove_finished(&self, id: Option<u64>) {
        self.0.pulls.lock().remove_finished(id);
    }

    /// A request has failed, after its transfer has ended.
    pub(crate) fn failed(&self, wanted: &Wanted, fault: &Fault) {
        self.0.pulls.lock().failed(wanted, fault.into());
    }

    /// Reports when a transfer begins, ends, waits or continues. Bytes and rates are not reported.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn changed(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }
}

impl Entry {
    /// The bytes that did not cross the tunnel for it.
    fn cached(&self) -> u64 {
        let received = self.received.load(Ordering::Relaxed);
        if self.state.lock().is_cached { received } else { self.cached.load(Ordering::Relaxed).min(received) }
    }

    fn snapshot(&self) -> TransferSnapshot {
        let bytes = self.received.load(Ordering::Relaxed);
        let bytes_per_second = self.rate.current(self.started.elapsed(), bytes);
        let state = self.state.lock();
        let waits_seconds = state.waits_since.map(|since| since.elapsed().as_secs());
        TransferSnapshot { bytes, bytes_per_second, waits_seconds, ..state.snapshot.clone() }
    }

    fn progress(&self) -> Progress {
        let bytes = self.received.load(Ordering::Relaxed);
        let bytes_per_second = self.rate.current(self.started.elapsed(), bytes);
        let state = self.state.lock();
        let TransferSnapshot { waits_for, reason, .. } = &state.snapshot;
        let wait =
            waits_for.zip(state.waits_since).map(|(waits_for, since)| (waits_for, since, reason.clone()));
        Progress { bytes, bytes_per_second, wait }
    }
}

/// A transfer that begins with this request.
fn describe(request: &Request, id: u64) -> TransferSnapshot {
    let Request { registry, operation, .. } = request;
    let mut image =
        operation.repository().map_or_else(|| registry.to_string(), |r| format!("{registry}/{r}"));
    let digest = match operation {
        Operation::Blob { digest, .. } => Some(digest.to_string()),
        Operation::Manifest { reference: Reference::Digest(digest), .. } => Some(digest.to_string()),
        Operation::Manifest { reference: Reference::Tag(tag), .. } => {
            image = format!("{image}:{tag}");
            None
        }
        _ => None,
    };
    let (operation, since) = (operation.name(), Timestamp::now());
    TransferSnapshot { id, operation, image, digest, since, ..TransferSnapshot::default() }
}
