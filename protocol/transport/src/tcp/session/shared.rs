//! What the handles of a session and its connections share: its state, and which connections it has.
//!
//! Must never end twice: the first reason counts.

use super::super::connection::{Connection, Outbox, Outcome};
use super::super::signal::Token;
use super::sessions::Membership;
use crate::error::SessionError;
use crate::path::Path;
use crate::session::Traffic;
use bytes::Bytes;
use docxy_protocol::congestion;
use h2::RecvStream;
use http::HeaderMap;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Connections that may have joined a session: one, and one that takes its place while it ends.
const JOINED_MAX: usize = 2;

/// What the handles of a session and its connections share.
#[derive(derive_more::Debug)]
pub(in super::super) struct Shared {
    #[debug(skip)]
    pub(super) side: Side,
    /// The first connection.
    #[debug(skip)]
    pub(in super::super) control: Connection,
    /// Those that have joined it, the oldest first.
    #[debug(skip)]
    pub(super) joined: Mutex<Vec<Connection>>,
    /// The counts of those that have left. Locked after `joined`.
    past: Mutex<Path>,
    pub(super) remote: SocketAddr,
    pub(in super::super) congestion: congestion::Handle,
    /// Whether the server has accepted the Hello.
    is_authenticated: watch::Sender<bool>,
    ended: watch::Sender<Option<SessionError>>,
    /// Held while the session is closed, so that only one reason is.
    closing: Mutex<()>,
    /// The peer is no client, as far as it has shown: it sees a web server.
    pub(super) is_refused: AtomicBool,
    /// No handle is left.
    is_released: AtomicBool,
}

/// What only a client, or only a server has.
pub(in super::super) enum Side {
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
pub(in super::super) type ControlHalves = (watch::Receiver<Outcome>, mpsc::UnboundedReceiver<Bytes>);

/// A stream that waits to be accepted.
pub(in super::super) struct Incoming {
    pub(in super::super) body: RecvStream,
    pub(in super::super) outbox: Arc<Outbox>,
    pub(in super::super) stream: u64,
    pub(in super::super) outcome: watch::Receiver<Outcome>,
    pub(in super::super) kind: Kind,
}

/// What a stream is for, as far as its connection knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Control,
    Padding,
    Other,
}

impl Shared {
    pub(in super::super) fn new(
        side: Side,
        control: Connection,
        remote: SocketAddr,
        congestion: congestion::Choice,
    ) -> Arc<Self> {
        Arc::new(Self {
            side,
            control,
            joined: Mutex::default(),
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

    pub(in super::super) const fn side(&self) -> &Side {
        &self.side
    }

    pub(in super::super) const fn is_client(&self) -> bool {
        matches!(self.side, Side::Client { .. })
    }

    pub(in super::super) fn close_reason(&self) -> Option<SessionError> {
        self.ended.borrow().clone()
    }

    pub(in super::super) async fn closed(&self) -> SessionError {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await.map(|ended| ended.clone());
        ended.ok().flatten().unwrap_or(SessionError::Closed)
    }

    pub(in super::super) fn is_authenticated(&self) -> bool {
        *self.is_authenticated.borrow()
    }

    pub(in super::super) fn authenticated(&self) {
        self.is_authenticated.send_replace(true);
        drop(self.take_unread());
        self.wake_drivers();
    }

    pub(in super::super) async fn until_authenticated(&self) {
        // The sender lives as long as this value.
        let _ = self.is_authenticated.subscribe().wait_for(|is_authenticated| *is_authenticated).await;
    }

    pub(in super::super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    pub(in super::super) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Relaxed)
    }

    /// The session has ended for this reason, if it had not. Tells the peer first.
    pub(in super::super) fn end(&self, reason: SessionError, tell: impl FnOnce()) {
        let closing = self.closing.lock();
        if self.ended.borrow().is_some() {
            return;
        }
        tell();
        self.ended.send_replace(Some(reason));
        drop(closing);
        self.control.outbox.end();
        self.joined.lock().iter().for_each(|connection| connection.outbox.end());
    }

    /// Adds a connection, in place of the oldest if there are [`JOINED_MAX`].
    pub(in super::super) fn join(&self, connection: Connection) {
        let oldest = {
            let mut joined = self.joined.lock();
            joined.push(connection);
            (joined.len() > JOINED_MAX).then(|| joined[0].clone())
        };
        if let Some(oldest) = oldest {
            self.left(&oldest);
        }
    }

    /// A connection that had joined has ended.
    pub(in super::super) fn left(&self, connection: &Connection) {
        let mut joined = self.joined.lock();
        if let Some(index) = joined.iter().position(|other| other.is_same(connection)) {
            add(&mut self.past.lock(), &joined.remove(index));
        }
        drop(joined);
        connection.outbox.end();
    }

    /// Whether this connection still belongs to the session.
    pub(in super::super) fn has(&self, connection: &Connection) -> bool {
        self.control.is_same(connection) || self.joined.lock().iter().any(|other| other.is_same(connection))
    }

    /// Whether another connection than this one has answered a ping since then. Pings on them if not.
    pub(in super::super) fn others_answer(&self, connection: &Connection, since: Instant) -> bool {
        let mut others = self.connections();
        others.retain(|other| !other.is_same(connection));
        let answer = others.iter().any(|other| other.probe.has_answered_since(since));
        if !answer {
            others.iter().for_each(Connection::ping);
        }
        answer
    }

    /// Whether another connection than the first one belongs to the session.
    pub(in super::super) fn has_joined(&self) -> bool {
        !self.joined.lock().is_empty()
    }

    /// Whether another connection has joined after this one.
    pub(in super::super) fn has_newer(&self, connection: &Connection) -> bool {
        self.joined.lock().last().is_some_and(|newest| !newest.is_same(connection))
    }

    /// The connection for the next stream. A large body stays where one is carried, as long as that goes well: the rate
    /// of another connection has yet to grow. Small responses use another one, if there is one.
    pub(super) fn connection_for(&self, traffic: Traffic) -> Connection {
        let joined = self.joined.lock();
        let is_good = |connection: &&Connection| !connection.load.has_collapsed();
        let newest_first = || joined.iter().rev().chain([&self.control]);
        let carries_bulk =
            newest_first().find(|connection| is_good(connection) && connection.load.has_bulk());
        let for_bulk = carries_bulk.or(joined.last()).unwrap_or(&self.control);
        match traffic {
            Traffic::Bulk => for_bulk.clone(),
            Traffic::Small if for_bulk.is_same(&self.control) => {
                joined.last().unwrap_or(&self.control).clone()
            }
            Traffic::Small => self.control.clone(),
        }
    }

    /// The round-trip time: the least of all connections, since those that carry bulk have queues.
    pub(in super::super) fn rtt(&self) -> Duration {
        let joined = self.joined.lock();
        let rtts = joined.iter().chain([&self.control]).filter_map(|connection| connection.probe.rtt());
        rtts.min().unwrap_or_default()
    }

    /// A server's token.
    pub(in super::super) const fn token(&self) -> Option<&Token> {
        match &self.side {
            Side::Client { .. } => None,
            Side::Server { membership, .. } => Some(membership.token()),
        }
    }

    /// The server has accepted the Hello, with this head.
    pub(in super::super) fn accepted(&self, head: &HeaderMap) {
        if let Side::Client { token, .. } = &self.side
            && let Some(found) = Token::in_head(head)
        {
            let _ = token.set(found);
        }
        self.authenticated();
    }

    /// The body of an unauthenticated request that was not read to its end.
    pub(in super::super) fn take_unread(&self) -> Option<RecvStream> {
        match &self.side {
            Side::Client { .. } => None,
            Side::Server { unread, .. } => unread.lock().take(),
        }
    }

    /// The path of all connections, those that have left too.
    pub(super) fn path(&self) -> Path {
        let rtt = self.rtt();
        let joined = self.joined.lock();
        let mut path = Path { rtt, ..*self.past.lock() };
        std::iter::once(&self.control).chain(joined.iter()).for_each(|connection| add(&mut path, connection));
        path
    }

    /// Keeps the body of a request that nothing may have answered yet.
    pub(super) fn keep_unread(&self, body: RecvStream) {
        if let Side::Server { unread, .. } = &self.side
            && !self.is_authenticated()
        {
            *unread.lock() = Some(body);
        }
    }

    /// No handle is left.
    pub(super) fn release(&self) {
        self.is_released.store(true, Ordering::Relaxed);
        self.wake_drivers();
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        std::iter::once(self.control.clone()).chain(self.joined.lock().iter().cloned()).collect()
    }

    fn wake_drivers(&self) {
        self.connections().iter().for_each(|connection| connection.outbox.wake_driver());
    }
}

/// Adds the counts of a connection.
fn add(path: &mut Path, Connection { meter, probe, .. }: &Connection) {
    path.bytes_sent += meter.sent();
    // A leg that shows nothing but padding has not shown that it carries a body.
    path.bytes_received += meter.received_content();
    path.datagrams_received += meter.reads();
    path.ack_eliciting_sent += probe.sent();
}
