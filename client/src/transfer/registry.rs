//! The running transfers, for `/health` and whatever shows them: what is transferred, how far it is, how fast,
//! over which server, and what it waits for.
//!
//! Only records. Must never lock anything for a chunk: the bytes of a transfer are counted in an atomic.

use crate::tunnel::Session;
use docxy_protocol::name::Reference;
use docxy_protocol::request::{Operation, Request};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// The time over which a rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The transfers that run: each from the request to the last byte of its response. Clones share them.
#[derive(Debug, Clone)]
pub struct TransferRegistry(Arc<RunningTransfers>);

#[derive(Debug)]
struct RunningTransfers {
    next_id: AtomicU64,
    entries: Mutex<BTreeMap<u64, Arc<Entry>>>,
    /// The number of changes so far, except bytes.
    changes: watch::Sender<u64>,
}

/// A running transfer, at one moment.
#[derive(Debug, Clone)]
pub struct TransferSnapshot {
    /// Its number. No other has it.
    pub id: u64,
    /// What was requested: `manifest`, `blob`, …
    pub operation: &'static str,
    /// `registry/repository[:tag]`, or the registry alone.
    pub image: String,
    /// The digest of the content, if the request named it.
    pub digest: Option<String>,
    /// The bytes of the body that were received.
    pub received: u64,
    /// The bytes of the body in all, if that is known.
    pub length: Option<u64>,
    /// The current rate in bytes per second.
    pub rate: u64,
    /// Since when it runs.
    pub since: SystemTime,
    /// The server over which it runs.
    pub server: Option<SocketAddr>,
    /// What it waits for. `None` while its body is received.
    pub wait: Option<Wait>,
}

/// Something that a transfer waits for.
#[derive(Debug, Clone)]
pub struct Wait {
    /// What.
    pub waits_for: WaitsFor,
    /// Since when no byte arrives.
    pub since: Instant,
    /// Why, if something failed.
    pub reason: Option<String>,
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

#[derive(Debug)]
struct Entry {
    id: u64,
    operation: &'static str,
    image: String,
    digest: Option<String>,
    since: SystemTime,
    started: Instant,
    length: OnceLock<u64>,
    received: AtomicU64,
    rate: RateMeter,
    path: Mutex<Path>,
}

/// Over which server, and what it waits for.
#[derive(Debug, Clone, Default)]
struct Path {
    server: Option<SocketAddr>,
    wait: Option<Wait>,
}

/// Measures a rate in windows. One task writes, and any may read.
#[derive(Debug, Default)]
struct RateMeter {
    /// When the window began, in milliseconds since the start of the transfer, and the bytes until then.
    began: AtomicU64,
    before: AtomicU64,
    /// The rate of the window before, in bytes per second.
    last: AtomicU64,
    /// When bytes were received last, in milliseconds since the start of the transfer.
    last_bytes: AtomicU64,
}

impl Default for TransferRegistry {
    fn default() -> Self {
        let (changes, _) = watch::channel(0);
        Self(Arc::new(RunningTransfers { next_id: AtomicU64::new(0), entries: Mutex::default(), changes }))
    }
}

impl TransferRegistry {
    /// Adds a transfer until the guard is dropped.
    pub(crate) fn begin(&self, request: &Request) -> TransferGuard {
        let (operation, image, digest) = describe(request);
        let entry = Arc::new(Entry {
            id: self.0.next_id.fetch_add(1, Ordering::Relaxed),
            operation,
            image,
            digest,
            since: SystemTime::now(),
            started: Instant::now(),
            length: OnceLock::new(),
            received: AtomicU64::new(0),
            rate: RateMeter::default(),
            path: Mutex::default(),
        });
        self.0.entries.lock().insert(entry.id, Arc::clone(&entry));
        self.changed();
        TransferGuard { registry: self.clone(), entry }
    }

    /// The number of transfers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The transfers, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<TransferSnapshot> {
        self.0.entries.lock().values().map(|entry| entry.snapshot()).collect()
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
    /// The registry that lists it.
    pub(super) const fn registry(&self) -> &TransferRegistry {
        &self.registry
    }

    /// The digest or the operation, for the log.
    pub(super) fn name(&self) -> &str {
        self.entry.digest.as_deref().unwrap_or(self.entry.operation)
    }

    /// The length of the body is known.
    pub(super) fn set_length(&self, length: u64) {
        let _ = self.entry.length.set(length);
    }

    /// Counts received bytes.
    pub(super) fn receive(&self, bytes: u64) {
        let received = self.entry.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.entry.rate.observe(self.entry.started.elapsed(), received);
    }

    /// It runs over this session.
    pub(crate) fn set_server(&self, session: &Session) {
        self.entry.path.lock().server = Some(session.transport().remote_address());
    }

    /// It waits. Since when stays as it was if it waited already.
    pub(crate) fn wait(&self, waits_for: WaitsFor, reason: Option<String>) {
        let mut path = self.entry.path.lock();
        let since = path.wait.as_ref().map_or_else(Instant::now, |wait| wait.since);
        path.wait = Some(Wait { waits_for, since, reason });
        drop(path);
        self.registry.changed();
    }

    /// It waits no longer.
    pub(crate) fn proceed(&self) {
        if self.entry.path.lock().wait.take().is_some() {
            self.registry.changed();
        }
    }

    /// What it waits for.
    pub(super) fn current_wait(&self) -> Option<Wait> {
        self.entry.path.lock().wait.clone()
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        self.registry.0.entries.lock().remove(&self.entry.id);
        self.registry.changed();
    }
}

impl Entry {
    fn snapshot(&self) -> TransferSnapshot {
        let received = self.received.load(Ordering::Relaxed);
        let Path { server, wait } = self.path.lock().clone();
        TransferSnapshot {
            id: self.id,
            operation: self.operation,
            image: self.image.clone(),
            digest: self.digest.clone(),
            received,
            length: self.length.get().copied(),
            rate: self.rate.current(self.started.elapsed(), received),
            since: self.since,
            server,
            wait,
        }
    }
}

impl RateMeter {
    /// So many bytes were received by `now`.
    fn observe(&self, now: Duration, received: u64) {
        let now = milliseconds(now);
        self.last_bytes.store(now, Ordering::Relaxed);
        let window = now.saturating_sub(self.began.load(Ordering::Relaxed));
        if window >= milliseconds(RATE_WINDOW) {
            let bytes = received.saturating_sub(self.before.swap(received, Ordering::Relaxed));
            self.last.store(per_second(bytes, window), Ordering::Relaxed);
            self.began.store(now, Ordering::Relaxed);
        }
    }

    /// The rate at `now`: 0 if two windows have passed without new bytes.
    fn current(&self, now: Duration, received: u64) -> u64 {
        let began = self.began.load(Ordering::Relaxed);
        let now = milliseconds(now);
        if now.saturating_sub(self.last_bytes.load(Ordering::Relaxed)) > 2 * milliseconds(RATE_WINDOW) {
            return 0;
        }
        let window = now.saturating_sub(began);
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

/// The operation, the image and the digest of a request.
fn describe(request: &Request) -> (&'static str, String, Option<String>) {
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
    (operation.name(), image, digest)
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
        let (first, second) = (registry.begin(&request("3")), registry.begin(&request(&digest)));
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
        assert!(registry.is_empty());
    }

    #[test]
    fn a_wait_keeps_its_beginning_until_it_ends() {
        let registry = TransferRegistry::default();
        let guard = registry.begin(&request("3"));
        let wait = || registry.snapshot()[0].wait.clone();
        assert!(wait().is_none());
        guard.wait(WaitsFor::Tunnel, Some("down".into()));
        let since = wait().unwrap().since;
        guard.wait(WaitsFor::Permit, None);
        let second = wait().unwrap();
        assert_eq!((second.waits_for, second.since, second.reason), (WaitsFor::Permit, since, None));
        guard.proceed();
        assert!(wait().is_none());
    }

    #[test]
    fn bytes_are_counted_without_a_report() {
        let registry = TransferRegistry::default();
        let guard = registry.begin(&request("3"));
        let mut changes = registry.watch();
        changes.mark_unchanged();
        guard.receive(5);
        guard.receive(7);
        assert_eq!(registry.snapshot()[0].received, 12);
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
