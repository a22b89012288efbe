//! A connection to the server, with the permits for requests on it.
//!
//! Requests wait here for a permit before they open a stream: see
//! [`docxy_protocol::limits::STREAMS_PER_CLIENT_MAX`].

pub(super) mod need;
pub(super) mod range_habits;
pub(super) mod segment_budget;

use super::config::{Congestion, Trust};
use super::leg::{Carried, Carriers, UseReason};
use super::segment_budget::{SegmentBudget, SelectedBody};
use super::server::{Server, ServerId};
use crate::status::counters::TunnelEvents;
use docxy_host::net::proxy::Proxy;
use docxy_protocol::control::{CloseCode, ExchangeId, Welcome};
use docxy_protocol::limits::{BLOBS_PER_CLIENT_MAX, SMALL_REQUESTS_PER_CLIENT_MAX};
use docxy_protocol::request::Operation;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long the close frame may take to be sent. A server that misses it notices the idle timeout.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long small responses may take to end on a session that another one replaces.
const SMALL_RESPONSES_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection on which requests can be sent. Cheap to clone. The connection lives as long as a clone or a
/// stream of it.
#[derive(Debug, Clone)]
pub struct Session {
    transport: docxy_transport::Session,
    server: Arc<Server>,
    congestion: Congestion,
    proxy: Option<Arc<Proxy>>,
    /// The number of the next exchange.
    next_exchange: Arc<AtomicU64>,
    segment_budget: Arc<SegmentBudget>,
    permits: RequestPermits,
    beside: Arc<Beside>,
    /// The body for which it was selected, if it was.
    _body: Option<Arc<SelectedBody>>,
}

/// A session that was lost. Another one is to be used.
#[derive(Debug)]
pub struct LostSession(docxy_transport::Session);

impl Session {
    pub(crate) fn new(
        transport: docxy_transport::Session,
        congestion: Congestion,
        server: Arc<Server>,
    ) -> Self {
        let segment_budget = Arc::new(SegmentBudget::new(Arc::clone(&server.usage)));
        Self {
            transport,
            server,
            congestion,
            proxy: None,
            next_exchange: Arc::default(),
            segment_budget,
            permits: RequestPermits::default(),
            beside: Arc::default(),
            _body: None,
        }
    }

    /// The same session, which goes through this proxy.
    pub(super) fn through(self, proxy: &Proxy) -> Self {
        Self { proxy: Some(Arc::new(proxy.clone())), ..self }
    }

    /// The proxy through which it goes, if any.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// The same session for a large body, which counts at its server until the last clone is dropped.
    pub(super) fn for_body(self) -> Self {
        let body = Some(Arc::new(SelectedBody::at(Arc::clone(&self.server.usage))));
        Self { _body: body, ..self }
    }

    /// Its server.
    #[must_use]
    pub fn server(&self) -> ServerId {
        self.server.id
    }

    /// Whether its server may see a user's credentials.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.server.trust == Trust::Trusted
    }

    /// Whether a request runs on it.
    pub(super) fn has_requests(&self) -> bool {
        let RequestPermits { blobs, small } = &self.permits;
        blobs.available_permits() < BLOBS_PER_CLIENT_MAX
            || small.available_permits() < SMALL_REQUESTS_PER_CLIENT_MAX
    }

    /// What it has carried.
    pub(super) fn carried(&self) -> Carried {
        let received = self.transport.path().bytes_received;
        Carried { received, is_loaded: self.segment_budget.is_loaded() }
    }

    /// Counts what it has carried since it was last counted.
    pub(super) fn count_bytes(&self, events: &TunnelEvents) {
        let path = self.transport.path();
        let mut counted = self.beside.counted.lock();
        let (sent, received) = *counted;
        *counted = (path.bytes_sent.max(sent), path.bytes_received.max(received));
        let leg = events.leg(self.transport.leg());
        leg.sent.add(counted.0 - sent);
        leg.received.add(counted.1 - received);
    }

    /// The session that is on trial beside this one, and which of them new parts of large bodies are for. Cheap while
    /// there is none.
    #[must_use]
    pub(crate) fn trial(&self) -> Option<(Self, Carriers)> {
        if !self.beside.has_trial.load(Ordering::Relaxed) {
            return None;
        }
        self.beside.trial.lock().as_deref().cloned()
    }

    /// Why its leg is in use.
    #[must_use]
    pub fn use_reason(&self) -> Option<UseReason> {
        *self.beside.use_reason.lock()
    }

    pub(super) fn set_use_reason(&self, reason: Option<UseReason>) {
        *self.beside.use_reason.lock() = reason;
    }

    /// Whether the server has accepted this client.
    pub(super) fn is_welcome(&self) -> bool {
        self.welcome().is_some()
    }

    /// What its server has said of itself, and this machine's clock when that arrived, if it has.
    #[must_use]
    pub fn welcome(&self) -> Option<&(Welcome, SystemTime)> {
        self.beside.welcome.get()
    }

    pub(super) fn set_welcome(&self, welcome: Welcome, now: SystemTime) {
        // A session has one Welcome.
        let _ = self.beside.welcome.set((welcome, now));
    }

    /// The part of what the server sent lately that was lost since it sent too much, if the server says so.
    pub(crate) fn loss(&self) -> Option<f64> {
        self.beside.sent.lock().loss
    }

    /// The server has sent so many packets until now, and so many of them were lost since it sent too much.
    pub(super) fn set_sent(&self, packets: u64, lost: u64) {
        let mut sent = self.beside.sent.lock();
        let (more, more_lost) = (packets.saturating_sub(sent.packets), lost.saturating_sub(sent.lost));
        *sent = SentNotice { packets, lost, loss: (more > 0).then(|| more_lost as f64 / more as f64) };
    }

    pub(super) fn set_trial(&self, trial: Option<(Self, Carriers)>) {
        self.beside.has_trial.store(trial.is_some(), Ordering::Relaxed);
        *self.beside.trial.lock() = trial.map(Box::new);
    }

    /// The session of the transport, to open streams on.
    #[must_use]
    pub const fn transport(&self) -> &docxy_transport::Session {
        &self.transport
    }

    /// The number of a new exchange.
    pub(crate) fn next_exchange(&self) -> ExchangeId {
        ExchangeId(self.next_exchange.fetch_add(1, Ordering::Relaxed))
    }

    /// The congestion control of both ends.
    #[must_use]
    pub const fn congestion(&self) -> Congestion {
        self.congestion
    }

    /// Waits for a permit for one more request.
    pub async fn permit(&self, operation: &Operation) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there is always a permit in the end.
        self.permits.semaphore(operation).acquire_owned().await.ok()
    }

    /// A permit for one more request, if one is free.
    #[must_use]
    pub fn try_permit(&self, operation: &Operation) -> Option<OwnedSemaphorePermit> {
        self.permits.semaphore(operation).try_acquire_owned().ok()
    }

    /// The budget of its large bodies.
    #[must_use]
    pub fn segment_budget(&self) -> &Arc<SegmentBudget> {
        &self.segment_budget
    }

    /// Closes the connection, and waits until the close frame is sent.
    pub(super) async fn close(&self) {
        self.transport.close(CloseCode::Done);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.transport.wait_idle()).await;
    }

    /// Closes the connection, which another one replaces. Large bodies continue there at once. Small responses end
    /// first: an engine that has read part of one could not go on.
    pub(super) async fn replaced(self) {
        let small = self.permits.small.acquire_many(SMALL_REQUESTS_PER_CLIENT_MAX as u32);
        let _ = tokio::time::timeout(SMALL_RESPONSES_TIMEOUT, small).await;
        self.transport.close(CloseCode::Done);
    }

    /// What remains of it after its loss.
    #[must_use]
    pub fn into_lost(self) -> LostSession {
        LostSession(self.transport)
    }

    /// Whether both are the same connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.transport.is_same(&other.transport)
    }

    /// Whether it is the one that was lost.
    pub(super) fn is_lost(&self, lost: Option<&LostSession>) -> bool {
        lost.is_some_and(|LostSession(lost)| lost.is_same(&self.transport))
    }
}

/// Why a session is in use, what its server has said, and the session that is on trial beside it.
#[derive(Debug, Default)]
struct Beside {
    use_reason: Mutex<Option<UseReason>>,
    welcome: OnceLock<(Welcome, SystemTime)>,
    sent: Mutex<SentNotice>,
    /// The bytes sent and received that are counted already.
    counted: Mutex<(u64, u64)>,
    has_trial: AtomicBool,
    trial: Mutex<Option<Box<(Session, Carriers)>>>,
}

/// The server's last notice of what it has sent.
#[derive(Debug, Default)]
struct SentNotice {
    packets: u64,
    lost: u64,
    /// The part that was lost between the last two notices.
    loss: Option<f64>,
}

/// The permits for concurrent requests. A request that waits for one holds no stream: see
#[derive(Debug, Clone)]
struct RequestPermits {
    blobs: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

impl RequestPermits {
    fn semaphore(&self, operation: &Operation) -> Arc<Semaphore> {
        Arc::clone(match operation {
            Operation::Blob { .. } => &self.blobs,
            _ => &self.small,
        })
    }
}

impl Default for RequestPermits {
    fn default() -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self { blobs: permits(BLOBS_PER_CLIENT_MAX), small: permits(SMALL_REQUESTS_PER_CLIENT_MAX) }
    }
}
