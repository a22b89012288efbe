//! One session of the leg: its first connection, which has its control stream, and those that have joined it. One of
//! them carries large bodies, and another one small responses.
//!
//! Must never outlive its first connection: a client dials again then. Without the others it goes on.

mod sessions;
mod shared;

pub(super) use sessions::Sessions;
pub(super) use shared::{Incoming, Kind, Shared, Side};

use super::connection::{CONTROL, Connection, LoadedStream, Outbox, Wire};
use super::signal;
use super::stream::{Receiver, Sender, Source};
use crate::error::SessionError;
use crate::path::Path;
use crate::session::Traffic;
use bytes::Bytes;
use docxy_protocol::congestion;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::UNAUTHENTICATED_STREAMS_MAX;
use h2::RecvStream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Streams that a client opens before the server has accepted it; the control stream is one more.
const STREAMS_BEFORE_WELCOME: u64 = UNAUTHENTICATED_STREAMS_MAX as u64 - 1;

/// The connections of a session, to be used as a [`Session`](crate::Session). Clones share them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Handle>);

/// What keeps a session open: the last one closes it.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    pub(super) fn close_reason(&self) -> Option<SessionError> {
        self.0.close_reason()
    }

    pub(super) fn is_client(&self) -> bool {
        self.0.is_client()
    }

    /// Keeps the body of a request that nothing may have answered yet.
    pub(super) fn keep_unauthenticated(&self, body: RecvStream) {
        self.0.keep_unread(body);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        close(&self.0, CloseCode::Done, CloseCode::Done.reason());
        self.0.release();
    }
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
            let receiver = self.receiver(source, &outbox, CONTROL, None);
            let handle = Arc::clone(&self.0);
            return Ok((Sender { handle, outbox, stream: CONTROL, outcome, kind: Kind::Control }, receiver));
        }
        let number = opened.fetch_add(1, Ordering::Relaxed);
        if number >= STREAMS_BEFORE_WELCOME && !shared.is_authenticated() {
            tokio::select! {
                error = shared.closed() => return Err(error),
                () = shared.until_authenticated() => {}
            }
        }
        let connection = shared.connection_for(traffic);
        if !connection.is_same(&shared.control)
            && let Ok(halves) = self.open_on(&connection, traffic).await
        {
            return Ok(halves);
        }
        tokio::select! {
            biased;
            error = shared.closed() => Err(error),
            opened = self.open_on(&shared.control, traffic) => match opened {
                Ok(halves) => Ok(halves),
                // The driver ends the session when the connection fails.
                Err(_) => Err(shared.closed().await),
            },
        }
    }

    async fn open_on(
        &self,
        connection: &Connection,
        traffic: Traffic,
    ) -> Result<(Sender, Receiver), h2::Error> {
        let load = connection.load.add(traffic);
        // Only a client opens streams.
        let requests = connection.requests.clone().ok_or(h2::Reason::INTERNAL_ERROR)?;
        let (response, body) = requests.ready().await?.send_request(signal::request(), false)?;
        let (outbox, handle) = (Arc::clone(&connection.outbox), Arc::clone(&self.0));
        let (stream, outcome) = outbox.add(Wire::Body(body));
        connection.probe.want();
        let receiver = self.receiver(Source::Awaited(response), &outbox, stream, Some(load));
        Ok((Sender { handle, outbox, stream, outcome, kind: Kind::Other }, receiver))
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
        let Incoming { body, outbox, stream, outcome, kind } = incoming;
        let source = if kind == Kind::Control { Source::Unauthenticated(body) } else { Source::Body(body) };
        let (handle, receiver) = (Arc::clone(&self.0), self.receiver(source, &outbox, stream, None));
        Ok((Sender { handle, outbox, stream, outcome, kind }, receiver))
    }

    fn receiver(
        &self,
        source: Source,
        outbox: &Arc<Outbox>,
        stream: u64,
        load: Option<LoadedStream>,
    ) -> Receiver {
        let (handle, outbox) = (Arc::clone(&self.0), Arc::clone(outbox));
        Receiver { handle, source, unread: Bytes::new(), outbox, stream, _load: load }
    }

    /// Pings on all connections.
    pub(crate) fn probe(&self) {
        self.shared().connections().iter().for_each(Connection::ping);
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
        while !self.shared().has_joined() {
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

    /// A peer that knows of the close ends all connections when it has what was sent on them.
    pub(crate) async fn close_confirmed(&self) {
        if !self.shared().is_refused() {
            self.wait_idle().await;
        }
    }

    pub(crate) const fn wire_version(&self) -> Option<u16> {
        None
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.shared().remote
    }

    pub(crate) fn path(&self) -> Path {
        self.shared().path()
    }

    pub(crate) fn congestion(&self) -> &congestion::Handle {
        &self.shared().congestion
    }

    /// Selects the congestion control of all connections, also those to come.
    pub(crate) fn choose_congestion(&self, choice: congestion::Choice) {
        self.shared().congestion.choose(choice);
        self.shared().connections().iter().for_each(|connection| connection.meter.choose(choice));
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
