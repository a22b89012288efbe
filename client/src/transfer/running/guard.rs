//! What a transfer tells the registry about itself.
//!
//! Must never lock anything for a chunk.

use super::{Entry, RunningTransfers, State, TransferRegistry, TransferSnapshot, WaitsFor};
use crate::status::pulls::{End, Moment};
use crate::status::reason::Reason;
use crate::tunnel::Session;
use docxy_protocol::limits::PREFETCH_MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::Manifest;
use docxy_protocol::name::Digest;
use docxy_protocol::request::{Request, TraceId};
use futures_util::stream::{Stream, unfold};
use http::StatusCode;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tracing::Span;

/// A running transfer. Dropping it ends the entry.
#[derive(Debug)]
pub(crate) struct TransferGuard {
    pub(super) registry: TransferRegistry,
    pub(super) entry: Arc<Entry>,
    pub(super) trace: TraceId,
    pub(super) engine: Option<&'static str>,
    /// It ends with this.
    pub(super) _span: Span,
}

/// What one transfer shows of another that brings its bytes.
#[derive(Debug, Clone, Default)]
pub(in crate::transfer) struct Waiting {
    server: Option<SocketAddr>,
    waits_for: Option<WaitsFor>,
    reason: Option<Reason>,
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
    pub(in crate::transfer) fn name(&self) -> String {
        let TransferSnapshot { operation, digest, .. } = &self.entry.state.lock().snapshot;
        digest.clone().unwrap_or_else(|| (*operation).to_owned())
    }

    /// The image that it is for.
    pub(in crate::transfer) fn image(&self) -> String {
        self.entry.state.lock().snapshot.image.clone()
    }

    /// The length of the body is known.
    pub(in crate::transfer) fn set_length(&self, length: u64) {
        self.entry.state.lock().snapshot.length = Some(length);
    }

    /// Counts received bytes.
    pub(in crate::transfer) fn receive(&self, bytes: u64) {
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
    pub(in crate::transfer) fn receive_cached(&self, bytes: u64) {
        self.entry.cached.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The same of what a neighbour brought.
    pub(in crate::transfer) fn receive_brought(&self, bytes: u64) {
        self.receive_cached(bytes);
        self.entry.brought.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The response has this status, and its content this digest, if it says so.
    pub(crate) fn answered(&self, status: StatusCode, digest: Option<&Digest>) {
        self.entry.state.lock().end.status = Some(status.as_u16());
        if let Some(digest) = digest {
            self.registry.0.pulls.lock().named(self.entry.id, digest);
        }
    }

    /// The content comes from what this client has cached.
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
    pub(in crate::transfer) fn interrupted(&self) {
        self.entry.state.lock().end.interruptions += 1;
    }

    /// The engine was given all of the body.
    pub(in crate::transfer) fn complete(&self) {
        self.entry.state.lock().end.is_complete = true;
    }

    /// It runs over this session.
    pub(crate) fn set_server(&self, session: &Session) {
        self.entry.state.lock().snapshot.server = Some(session.transport().remote_address());
    }

    /// It waits. Since when stays as it was if it waited already.
    pub(crate) fn wait(&self, waits_for: WaitsFor, reason: Option<Reason>) {
        let mut state = self.entry.state.lock();
        state.waits_since.get_or_insert_with(Instant::now);
        state.snapshot.waits_for = Some(waits_for);
        state.snapshot.reason = reason;
        drop(state);
        self.registry.changed();
    }

    /// Its server, and what it waits for.
    pub(in crate::transfer) fn waiting(&self) -> Waiting {
        let TransferSnapshot { server, waits_for, reason, .. } = &self.entry.state.lock().snapshot;
        Waiting { server: *server, waits_for: *waits_for, reason: reason.clone() }
    }

    /// It waits for what another transfer waits for.
    pub(in crate::transfer) fn follow(&self, other: &Waiting) {
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
                let reason =
                    |state: &State| state.snapshot.reason.as_ref().map(|reason| reason.text.to_string());
                let now = reason(&entry.state.lock());
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
        let cached = self.entry.cached();
        let brought = self.entry.brought.load(Ordering::Relaxed).min(cached);
        let end = End { bytes, cached, brought, ..self.entry.state.lock().end };
        let RunningTransfers { entries, counters, .. } = &*self.registry.0;
        let mut entries = entries.lock();
        // With the entries locked, so that no report counts them twice.
        counters.bytes.add(bytes, cached);
        entries.remove(&self.entry.id);
        drop(entries);
        self.registry.0.pulls.lock().end(self.entry.id, end, Moment::now());
        self.registry.changed();
    }
}
