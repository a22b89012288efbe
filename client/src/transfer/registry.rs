//! The running transfers, for `/health` and whatever shows them: what is transferred, how far it is, how fast,
//! over which server, and what it waits for.
//!
//! Only records. Must never lock anything for a chunk: the bytes of a transfer are counted in an atomic.

use crate::counters::TransferCounters;
use crate::pulls::{End, Event, Finished, Moment, Progress, PullReport, Pulls, Wanted};
use crate::tunnel::Session;
use docxy_host::random::random_u64;
use docxy_protocol::fault::Fault;
use docxy_protocol::limits::PREFETCH_MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::Manifest;
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::request::{Operation, Request, TraceId};
use futures_util::stream::{Stream, unfold};
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The time over which a rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(1);

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
    pub reason: Option<String>,
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitsFor {
    /// A session.
    Tunnel,
    /// A permit of the session: too many requests are under way.
    Permit,
    /// The response of the server, or the time of the next attempt.
    Server,
}

/// A running transfer. Dropping it ends the entry.
#[derive(Debug)]
pub(crate) struct TransferGuard {
    registry: TransferRegistry,
    entry: Arc<Entry>,
    trace: TraceId,
    engine: Option<&'static str>,
}

/// What one transfer shows of another that brings its bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    server: Option<SocketAddr>,
    waits_for: Option<WaitsFor>,
    reason: Option<String>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    started: Instant,
    received: AtomicU64,
    /// The received bytes that did not cross the tunnel for this transfer.
    kept: AtomicU64,
    rate: RateMeter,
    state: Mutex<State>,
}

/// What does not change with each chunk.
#[derive(Debug)]
struct State {
    /// Without what is measured: bytes, rate, and seconds.
    snapshot: TransferSnapshot,
    waits_since: Option<Instant>,
    /// Whether the whole content comes from what this client has kept.
    is_cached: bool,
    /// Without its bytes.
    end: End,
}

/// Measures a rate in windows. One task writes, and any may read.
#[derive(Debug, Default)]
struct RateMeter {
    /// When the window began, in milliseconds since the start of the transfer, and the bytes until then.
    began: AtomicU64,
    before: AtomicU64,
    /// The rate of the window before, in bytes per second.
    last: AtomicU64,
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
            kept: AtomicU64::new(0),
            rate: RateMeter::default(),
            state: Mutex::new(State { snapshot, waits_since: None, is_cached: false, end: End::default() }),
        });
        self.0.entries.lock().insert(entry.id, Arc::clone(&entry));
        let begin = |wanted| self.0.pulls.lock().begin(entry.id, &wanted, Moment::now());
        let trace = Wanted::of(request, engine).map(begin).unwrap_or_default();
        self.changed();
        TransferGuard { registry: self.clone(), entry, trace, engine }
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
        let kept: u64 = entries.values().map(|entry| entry.kept()).sum();
        let bytes = &self.0.counters.bytes;
        let from_disk = self.0.counters.bytes_from_disk.get();
        [
            ("tunnel", bytes.tunnel.get() + received.saturating_sub(kept)),
            ("cache", (bytes.cache.get() + kept).saturating_sub(from_disk)),
            ("disk", from_disk),
            // Another client in this network.
            ("neighbour", 0),
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
        self.0.pulls.lock().failed(wanted, docxy_protocol::text::clean(fault));
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

impl TransferGuard {
    /// The trace id of its pull.
    pub(crate) const fn trace(&self) -> TraceId {
        self.trace
    }

    /// Lists another request of the same engine.
    pub(crate) fn begin(&self, request: &Request) -> Self {
        self.registry.begin(request, self.engine)
    }

    /// The digest or the operation, for the log.
    pub(super) fn name(&self) -> String {
        let TransferSnapshot { operation, digest, .. } = &self.entry.state.lock().snapshot;
        digest.clone().unwrap_or_else(|| (*operation).to_owned())
    }

    /// The image that it is for.
    pub(super) fn image(&self) -> String {
        self.entry.state.lock().snapshot.image.clone()
    }

    /// The length of the body is known.
    pub(super) fn set_length(&self, length: u64) {
        self.entry.state.lock().snapshot.length = Some(length);
    }

    /// Counts received bytes.
    pub(super) fn receive(&self, bytes: u64) {
        let received = self.entry.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if received == bytes {
            let operation = self.entry.state.lock().snapshot.operation;
            let waited = self.entry.started.elapsed().as_secs_f64();
            let first_byte = &self.registry.0.counters.first_byte;
            first_byte.get_or_create(&[("operation", operation)]).observe(waited);
        }
        self.entry.rate.observe(self.entry.started.elapsed(), received);
    }

    /// So many of the next received bytes come from the disk, or from what another engine has requested.
    pub(super) fn receive_kept(&self, bytes: u64) {
        self.entry.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The response has this status, and its content this digest, if it says so.
    pub(crate) fn answered(&self, status: StatusCode, digest: Option<&Digest>) {
        self.entry.state.lock().end.status = Some(status.as_u16());
        if let Some(digest) = digest {
            self.registry.0.pulls.lock().named(self.entry.id, digest);
        }
    }

    /// The content comes from what this client has kept.
    pub(crate) fn set_cached(&self) {
        self.entry.state.lock().is_cached = true;
    }

    /// The manifest that it is for has arrived.
    pub(crate) fn manifest(&self, digest: &Digest, bytes: &[u8], content_type: &str) {
        // An engine says more of one that is not valid.
        if bytes.len() <= PREFETCH_MANIFEST_BYTES_MAX
            && let Ok(manifest) = Manifest::parse(bytes, Some(content_type))
        {
            self.registry.0.pulls.lock().manifest(self.entry.id, digest, &manifest);
        }
    }

    /// It was interrupted, and goes on.
    pub(super) fn interrupted(&self) {
        self.entry.state.lock().end.interruptions += 1;
    }

    /// The engine was given all of the body.
    pub(super) fn complete(&self) {
        self.entry.state.lock().end.is_complete = true;
    }

    /// It runs over this session.
    pub(crate) fn set_server(&self, session: &Session) {
        self.entry.state.lock().snapshot.server = Some(session.transport().remote_address());
    }

    /// It waits. Since when stays as it was if it waited already.
    pub(crate) fn wait(&self, waits_for: WaitsFor, reason: Option<String>) {
        let mut state = self.entry.state.lock();
        state.waits_since.get_or_insert_with(Instant::now);
        state.snapshot.waits_for = Some(waits_for);
        state.snapshot.reason = reason;
        drop(state);
        self.registry.changed();
    }

    /// Its server, and what it waits for.
    pub(super) fn waiting(&self) -> Waiting {
        let TransferSnapshot { server, waits_for, reason, .. } = &self.entry.state.lock().snapshot;
        Waiting { server: *server, waits_for: *waits_for, reason: reason.clone() }
    }

    /// It waits for what another transfer waits for.
    pub(super) fn follow(&self, other: &Waiting) {
        self.entry.state.lock().snapshot.server = other.server;
        match other.waits_for {
            Some(waits_for) => self.wait(waits_for, other.reason.clone()),
            None => self.proceed(),
        }
    }

    /// It waits no longer.
    pub(crate) fn proceed(&self) {
        let mut state = self.entry.state.lock();
        if state.waits_since.take().is_some() {
            state.snapshot.waits_for = None;
            state.snapshot.reason = None;
            drop(state);
            self.registry.changed();
        }
    }

    /// Why it waits, if something failed, each time that this changes.
    pub(crate) fn wait_reasons(&self) -> impl Stream<Item = Option<String>> + Send + use<> {
        let (entry, changes) = (Arc::clone(&self.entry), self.registry.watch());
        unfold((entry, changes, None), async |(entry, mut changes, last)| {
            loop {
                let now = entry.state.lock().snapshot.reason.clone();
                if now != last {
                    return Some((now.clone(), (entry, changes, now)));
                }
                changes.changed().await.ok()?;
            }
        })
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        let bytes = self.entry.received.load(Ordering::Relaxed);
        let kept = self.entry.kept();
        let end = End { bytes, kept, ..self.entry.state.lock().end };
        let RunningTransfers { entries, counters, .. } = &*self.registry.0;
        let mut entries = entries.lock();
        // With the entries locked, so that no report counts them twice.
        counters.bytes.add(bytes, kept);
        entries.remove(&self.entry.id);
        drop(entries);
        self.registry.0.pulls.lock().end(self.entry.id, end, Moment::now());
        self.registry.changed();
    }
}

impl Entry {
    /// The bytes that did not cross the tunnel for it.
    fn kept(&self) -> u64 {
        let received = self.received.load(Ordering::Relaxed);
        if self.state.lock().is_cached { received } else { self.kept.load(Ordering::Relaxed).min(received) }
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

impl RateMeter {
    /// So many bytes were received by `now`.
    fn observe(&self, now: Duration, received: u64) {
        let now = milliseconds(now);
        let window = now.saturating_sub(self.began.load(Ordering::Relaxed));
        if window >= milliseconds(RATE_WINDOW) {
            let bytes = received.saturating_sub(self.before.swap(received, Ordering::Relaxed));
            self.last.store(per_second(bytes, window), Ordering::Relaxed);
            self.began.store(now, Ordering::Relaxed);
        }
    }

    /// The rate at `now`: 0 if no byte has ended the window in its double time.
    fn current(&self, now: Duration, received: u64) -> u64 {
        let began = self.began.load(Ordering::Relaxed);
        let window = milliseconds(now).saturating_sub(began);
        if window > 2 * milliseconds(RATE_WINDOW) {
            return 0;
        }
        if began > 0 && window < milliseconds(RATE_WINDOW) {
            return self.last.load(Ordering::Relaxed);
        }
        per_second(received.saturating_sub(self.before.load(Ordering::Relaxed)), window)
    }
}

fn per_second(bytes: u64, milliseconds: u64) -> u64 {
    bytes.saturating_mul(1000) / milliseconds.max(1)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::name::Registry;
    use docxy_protocol::request::Method;

    fn request(reference: &str) -> Request {
        let operation = Operation::Manifest {
            repository: "library/alpine".parse().unwrap(),
            reference: reference.parse().unwrap(),
            method: Method::Get,
        };
        Request::new(Registry::docker_hub(), operation)
    }

    #[test]
    fn a_transfer_is_listed_until_its_guard_is_dropped() {
        let registry = TransferRegistry::default();
        let mut changes = registry.watch();
        let digest = format!("sha256:{}", "0".repeat(64));
        let (first, second) = (registry.begin(&request("3"), None), registry.begin(&request(&digest), None));
        let names = || {
            let all = registry.snapshot().into_iter();
            all.map(|entry| (entry.image, entry.digest)).collect::<Vec<_>>()
        };
        let image = "docker.io/library/alpine";
        assert_eq!(names(), [(format!("{image}:3"), None), (image.to_owned(), Some(digest.clone()))]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        drop(first);
        assert_eq!(names(), [(image.to_owned(), Some(digest))]);
        assert!(changes.has_changed().unwrap());
        drop(second);
        assert!(registry.snapshot().is_empty());
    }

    #[test]
    fn a_wait_keeps_its_beginning_until_it_ends() {
        let registry = TransferRegistry::default();
        let guard = registry.begin(&request("3"), None);
        let since = || guard.entry.state.lock().waits_since;
        let wait = || {
            let TransferSnapshot { waits_for, waits_seconds, reason, .. } = registry.snapshot().remove(0);
            assert_eq!(waits_for.is_some(), waits_seconds.is_some());
            (waits_for, reason)
        };
        assert_eq!(wait(), (None, None));
        guard.wait(WaitsFor::Tunnel, Some("down".into()));
        assert_eq!(wait(), (Some(WaitsFor::Tunnel), Some("down".into())));
        let began = since();
        guard.wait(WaitsFor::Permit, None);
        assert_eq!((wait(), since()), ((Some(WaitsFor::Permit), None), began));
        guard.proceed();
        assert_eq!((wait(), since()), ((None, None), None));
    }

    #[test]
    fn bytes_are_counted_without_a_report() {
        let registry = TransferRegistry::default();
        let guard = registry.begin(&request("3"), None);
        let mut changes = registry.watch();
        changes.mark_unchanged();
        guard.receive(5);
        guard.receive(7);
        assert_eq!(registry.snapshot()[0].bytes, 12);
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let rate = RateMeter::default();
        let at = Duration::from_millis;
        assert_eq!(rate.current(at(0), 0), 0);
        assert_eq!(rate.current(at(500), 100), 200, "there is no window yet");
        rate.observe(at(1000), 1000);
        assert_eq!(rate.current(at(1500), 1000), 1000);
        rate.observe(at(3000), 5000);
        assert_eq!(rate.current(at(3900), 6000), 2000);
        assert_eq!(rate.current(at(13_000), 6000), 0, "no byte for ten seconds");
    }
}
