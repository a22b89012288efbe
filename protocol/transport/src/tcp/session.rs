//! One session of the leg: a connection for control and small responses, and others that have joined it, for bulk.
//!
//! Must never outlive its first connection: a client dials again then. Without the others it goes on.

use super::connection::{CONTROL, Connection, Outbox, Outcome, Wire};
use super::sessions::Membership;
use super::signal::{self, Token};
use super::stream::{Receiver, Sender, Source};
use crate::error::SessionError;
use crate::path::Path;
use crate::session::Traffic;
use bytes::Bytes;
use docxy_protocol::congestion;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::UNAUTHENTICATED_STREAMS_MAX;
use h2::RecvStream;
use http::HeaderMap;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, watch};

/// Streams that a client opens before the server has accepted it; the control stream is one more.
const STREAMS_BEFORE_WELCOME: u64 = UNAUTHENTICATED_STREAMS_MAX as u64 - 1;

/// The connections of a session, to be used as a [`Session`](crate::Session). Clones share them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Handle>);

/// What keeps a session open: the last one closes it.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Shared>);

/// What the handles of a session and its connections share.
#[derive(derive_more::Debug)]
pub(super) struct Shared {
    #[debug(skip)]
    side: Side,
    /// The first connection.
    #[debug(skip)]
    control: Connection,
    /// Those that have joined it, the oldest first.
    #[debug(skip)]
    bulk: Mutex<Vec<Connection>>,
    /// The counts of those that have left. Locked after `bulk`.
    past: Mutex<Path>,
    remote: SocketAddr,
    congestion: congestion::Handle,
    /// Whether the server has accepted the Hello.
    is_authenticated: watch::Sender<bool>,
    ended: watch::Sender<Option<SessionError>>,
    /// Held while the session is closed, so that only one reason is.
    closing: Mutex<()>,
    /// The peer is no client, as far as it has shown: it sees a web server.
    is_refused: AtomicBool,
    /// No handle is left.
    is_released: AtomicBool,
}

/// What only a client, or only a server has.
pub(super) enum Side {
    Client {
        /// Streams that were opened so far.
        opened: AtomicU64,
        /// The halves of the control stream, until they are taken.
        control: Mutex<Option<ControlHalves>>,
        /// What another connection joins with.
        token: OnceLock<Token>,
    },
    Server {
        /// The streams that wait to be accepted.
        incoming: tokio::sync::Mutex<mpsc::UnboundedReceiver<Incoming>>,
        /// For the connections that join.
        sender: mpsc::UnboundedSender<Incoming>,
        membership: Membership,
        /// The body of an unauthenticated request that was not read to its end.
        unread: Mutex<Option<RecvStream>>,
    },
}

/// How the control stream will end for its sender, and what arrives on it.
pub(super) type ControlHalves = (watch::Receiver<Outcome>, mpsc::UnboundedReceiver<Bytes>);

/// A stream that waits to be accepted.
pub(super) struct Incoming {
    pub(super) body: RecvStream,
    pub(super) outbox: Arc<Outbox>,
    pub(super) stream: u64,
    pub(super) outcome: watch::Receiver<Outcome>,
    pub(super) is_control: bool,
}

impl Shared {
    pub(super) fn new(
        side: Side,
        control: Connection,
        remote: SocketAddr,
        congestion: congestion::Choice,
    ) -> Arc<Self> {
        Arc::new(Self {
            side,
            control,
            bulk: Mutex::default(),
            past: Mutex::default(),
            remote,
            congestion: congestion::Handle::new(congestion),
            is_authenticated: watch::Sender::new(false),
            ended: watch::Sender::new(None),
            closing: Mutex::default(),
            is_refused: AtomicBool::new(false),
            is_released: AtomicBool::new(false),
        })
    }

    pub(super) const fn side(&self) -> &Side {
        &self.side
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self.side, Side::Client { .. })
    }

    pub(super) fn close_reason(&self) -> Option<SessionError> {
        self.ended.borrow().clone()
    }

    pub(super) async fn closed(&self) -> SessionError {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await.map(|ended| ended.clone());
        ended.ok().flatten().unwrap_or(SessionError::Closed)
    }

    pub(super) fn is_authenticated(&self) -> bool {
        *self.is_authenticated.borrow()
    }

    pub(super) fn authenticated(&self) {
        self.is_authenticated.send_replace(true);
        drop(self.take_unread());
        self.wake_drivers();
    }

    pub(super) async fn until_authenticated(&self) {
        // The sender lives as long as this value.
        let _ = self.is_authenticated.subscribe().wait_for(|is_authenticated| *is_authenticated).await;
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    pub(super) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Relaxed)
    }

    /// The session has ended for this reason, if it had not. Tells the peer first.
    pub(super) fn end(&self, reason: SessionError, tell: impl FnOnce()) {
        let closing = self.closing.lock();
        if self.ended.borrow().is_some() {
            return;
        }
        tell();
        self.ended.send_replace(Some(reason));
        drop(closing);
        self.control.outbox.end();
        self.bulk.lock().iter().for_each(|connection| connection.outbox.end());
    }

    /// Adds a connection, in place of the oldest if there are `max`.
    pub(super) fn join(&self, connection: Connection, max: usize) {
        let oldest = {
            let mut bulk = self.bulk.lock();
            bulk.push(connection);
            (bulk.len() > max).then(|| bulk[0].clone())
        };
        if let Some(oldest) = oldest {
            self.left(&oldest);
        }
    }

    /// A connection that had joined has ended.
    pub(super) fn left(&self, connection: &Connection) {
        let mut bulk = self.bulk.lock();
        if let Some(index) = bulk.iter().position(|other| other.is_same(connection)) {
            add(&mut self.past.lock(), &bulk.remove(index));
        }
        drop(bulk);
        connection.outbox.end();
    }

    /// Whether this connection still belongs to the session.
    pub(super) fn has(&self, connection: &Connection) -> bool {
        self.control.is_same(connection) || self.bulk.lock().iter().any(|other| other.is_same(connection))
    }

    /// A server's token.
    pub(super) const fn token(&self) -> Option<&Token> {
        match &self.side {
            Side::Client { .. } => None,
            Side::Server { membership, .. } => Some(membership.token()),
        }
    }

    /// The server has accepted the Hello, with this head.
    pub(super) fn accepted(&self, head: &HeaderMap) {
        if let Side::Client { token, .. } = &self.side
            && let Some(found) = Token::in_head(head)
        {
            let _ = token.set(found);
        }
        self.authenticated();
    }

    /// The body of an unauthenticated request that was not read to its end.
    pub(super) fn take_unread(&self) -> Option<RecvStream> {
        match &self.side {
            Side::Client { .. } => None,
            Side::Server { unread, .. } => unread.lock().take(),
        }
    }

    fn connections(&self) -> Vec<Connection> {
        std::iter::once(self.control.clone()).chain(self.bulk.lock().iter().cloned()).collect()
    }

    fn wake_drivers(&self) {
        self.connections().iter().for_each(|connection| connection.outbox.wake_driver());
    }
}

impl Handle {
    pub(super) fn close_reason(&self) -> Option<SessionError> {
        self.0.close_reason()
    }

    pub(super) fn is_client(&self) -> bool {
        self.0.is_client()
    }

    /// Keeps the body of a request that nothing may have answered yet.
    pub(super) fn keep_unauthenticated(&self, body: RecvStream) {
        if let Side::Server { unread, .. } = &self.0.side
            && !self.0.is_authenticated()
        {
            *unread.lock() = Some(body);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        close(&self.0, CloseCode::Done, CloseCode::Done.reason());
        self.0.is_released.store(true, Ordering::Relaxed);
        self.0.wake_drivers();
    }
}

/// Adds the counts of a connection.
fn add(path: &mut Path, Connection { meter, probe, .. }: &Connection) {
    path.bytes_sent += meter.sent();
    path.bytes_received += meter.received();
    path.datagrams_received += meter.reads();
    path.ack_eliciting_sent += probe.sent();
}

fn close(shared: &Shared, code: CloseCode, text: &str) {
    let outbox = &shared.control.outbox;
    shared.end(SessionError::Closed, || {
        if shared.is_client() {
            outbox.reset(CONTROL, signal::close_reason(code));
        } else {
            outbox.conclude(CONTROL, signal::close_trailers(code, text));
        }
    });
}

impl Connections {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle(shared)))
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    pub(crate) async fn open(&self, traffic: Traffic) -> Result<(Sender, Receiver), SessionError> {
        let shared = self.shared();
        let Side::Client { opened, control, .. } = &shared.side else { return Err(SessionError::Closed) };
        if let Some((outcome, messages)) = control.lock().take() {
            // The driver reads it.
            let (outbox, source) = (Arc::clone(&shared.control.outbox), Source::Control(messages));
            let receiver = self.receiver(source, &outbox, CONTROL);
            let handle = Arc::clone(&self.0);
            return Ok((Sender { handle, outbox, stream: CONTROL, outcome, is_control: true }, receiver));
        }
        let number = opened.fetch_add(1, Ordering::Relaxed);
        if number >= STREAMS_BEFORE_WELCOME && !shared.is_authenticated() {
            tokio::select! {
                error = shared.closed() => return Err(error),
                () = shared.until_authenticated() => {}
            }
        }
        let bulk = shared.bulk.lock().last().cloned().filter(|_| matches!(traffic, Traffic::Bulk));
        if let Some(bulk) = bulk
            && let Ok(halves) = self.open_on(&bulk).await
        {
            return Ok(halves);
        }
        tokio::select! {
            biased;
            error = shared.closed() => Err(error),
            opened = self.open_on(&shared.control) => match opened {
                Ok(halves) => Ok(halves),
                // The driver ends the session when the connection fails.
                Err(_) => Err(shared.closed().await),
            },
        }
    }

    async fn open_on(&self, connection: &Connection) -> Result<(Sender, Receiver), h2::Error> {
        // Only a client opens streams.
        let requests = connection.requests.clone().ok_or(h2::Reason::INTERNAL_ERROR)?;
        let (response, body) = requests.ready().await?.send_request(signal::request(), false)?;
        let (outbox, handle) = (Arc::clone(&connection.outbox), Arc::clone(&self.0));
        let (stream, outcome) = outbox.add(Wire::Body(body));
        connection.probe.want();
        let receiver = self.receiver(Source::Awaited(response), &outbox, stream);
        Ok((Sender { handle, outbox, stream, outcome, is_control: false }, receiver))
    }

    /// The streams of a session's connections come in any order.
    pub(crate) async fn accept(&self) -> Result<(Sender, Receiver), SessionError> {
        let shared = self.shared();
        let Side::Server { incoming, .. } = &shared.side else { return Err(shared.closed().await) };
        let accepted = async { incoming.lock().await.recv().await };
        let incoming = tokio::select! {
            biased;
            error = shared.closed() => return Err(error),
            accepted = accepted => match accepted {
                Some(incoming) => incoming,
                None => return Err(shared.closed().await),
            },
        };
        let Incoming { body, outbox, stream, outcome, is_control } = incoming;
        let source = if is_control { Source::Unauthenticated(body) } else { Source::Body(body) };
        let (handle, receiver) = (Arc::clone(&self.0), self.receiver(source, &outbox, stream));
        Ok((Sender { handle, outbox, stream, outcome, is_control }, receiver))
    }

    fn receiver(&self, source: Source, outbox: &Arc<Outbox>, stream: u64) -> Receiver {
        let (handle, outbox) = (Arc::clone(&self.0), Arc::clone(outbox));
        Receiver { handle, source, unread: Bytes::new(), outbox, stream }
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        close(self.shared(), code, reason);
    }

    /// Closes the session of a peer that has not shown to be a client: it sees a web server, and nothing there.
    pub(crate) fn refuse(&self, _: CloseCode, _: &str) {
        let shared = self.shared();
        shared.end(SessionError::Closed, || shared.is_refused.store(true, Ordering::Relaxed));
    }

    /// Waits while a refused peer is answered.
    pub(crate) async fn lingers(&self) {
        if self.shared().is_refused() {
            self.shared().control.closed().await;
        }
    }

    /// Waits until another connection has joined.
    #[cfg(feature = "test-legs")]
    pub(crate) async fn joined(&self) {
        while self.shared().bulk.lock().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn close_reason(&self) -> Option<SessionError> {
        self.shared().close_reason()
    }

    pub(crate) async fn closed(&self) -> SessionError {
        self.shared().closed().await
    }

    pub(crate) async fn wait_idle(&self) {
        for connection in self.shared().connections() {
            connection.closed().await;
        }
    }

    /// A peer that knows of the close ends the connection.
    pub(crate) async fn close_confirmed(&self) {
        if !self.shared().is_refused() {
            self.shared().control.closed().await;
        }
    }

    pub(crate) const fn wire_version(&self) -> Option<u16> {
        None
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.shared().remote
    }

    pub(crate) fn path(&self) -> Path {
        let shared = self.shared();
        let bulk = shared.bulk.lock();
        let mut path = Path { rtt: shared.control.probe.rtt(), ..*shared.past.lock() };
        std::iter::once(&shared.control).chain(bulk.iter()).for_each(|connection| add(&mut path, connection));
        path
    }

    pub(crate) fn congestion(&self) -> &congestion::Handle {
        &self.shared().congestion
    }

    pub(crate) fn raise_limits(&self) {
        self.shared().authenticated();
    }

    pub(crate) fn set_send_window(&self, bytes: u64) {
        self.shared().connections().iter().for_each(|connection| connection.outbox.set_window(bytes));
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
