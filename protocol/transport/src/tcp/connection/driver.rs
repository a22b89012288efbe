//! The task of one connection: moves h2, passes it what is to be sent, pings, and ends with the session or the peer.
//!
//! Must never pass anything on before the kernel has taken what went before: then a small response waits for bulk.

use super::super::not_found::Answers;
use super::super::session::{Incoming, Kind, Shared};
use super::super::signal;
use super::outbox::CONTROL;
use super::outgoing::Wire;
use super::rate_watch::{RateWatch, Verdict};
use super::send_rate::SendRate;
use super::{Connection, Metered};
use crate::error::SessionError;
use bytes::Bytes;
use docxy_protocol::limits::{
    AUTHENTICATED_RECEIVE_WINDOW, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL, UNAUTHENTICATED_STREAMS_MAX,
};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::{Request, StatusCode};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::Sleep;

/// Intervals without a byte after which a connection is lost. They are counted, and the time is not measured: a process
/// that was stopped has yet to read what came meanwhile.
const IDLE_INTERVALS: u32 = (IDLE_TIMEOUT.as_secs() / KEEP_ALIVE_INTERVAL.as_secs()) as u32;

/// Time that a server gives a client to end the connections of a session that it has closed.
const CLOSE_TIMEOUT: Duration = KEEP_ALIVE_INTERVAL.saturating_mul(2);

/// Bytes of padding that the kernel may take and not send yet, for the same reason as those of a batch.
const PADDING_UNSENT_BYTES: u32 = 16 * 1024;

type Tls = tokio_rustls::TlsStream<Metered>;

/// Either end of HTTP/2.
pub(in super::super) enum Http2 {
    Client(h2::client::Connection<Tls, Bytes>),
    Server(h2::server::Connection<Tls, Bytes>),
}

/// What a connection is in its session.
pub(in super::super) enum Role {
    /// The first one of a client's session, with what arrives on its control stream.
    ClientControl { stream: ControlStream, messages: mpsc::UnboundedSender<Bytes> },
    /// The first one of a server's session, with the streams of the client.
    ServerControl { incoming: mpsc::UnboundedSender<Incoming> },
    /// One that has joined, at a client: the request that joined it stays open with it.
    ClientBulk { _join: RecvStream },
    /// The same at a server.
    ServerBulk { incoming: mpsc::UnboundedSender<Incoming>, _join: h2::SendStream<Bytes> },
}

/// A client's control stream.
pub(in super::super) enum ControlStream {
    /// The server has not accepted the Hello yet.
    Awaited(ResponseFuture),
    Open(RecvStream),
}

/// The task.
pub(in super::super) struct Driver {
    http2: Http2,
    role: Role,
    session: Arc<Shared>,
    connection: Connection,
    pings: Option<PingPong>,
    rate_watch: RateWatch,
    send_rate: SendRate,
    /// When the watch is to look at a ping.
    look: Pin<Box<Sleep>>,
    /// An interval after the last byte, and after each without one.
    silence: Pin<Box<Sleep>>,
    /// Intervals without a byte, and the bytes received before.
    idle: (u32, u64),
    /// A peer that is refused has sent its first request then.
    begun: Instant,
    /// When it was noticed that the session is closed.
    closed: Option<Instant>,
    /// Whether the peer has answered a ping that was sent since then: what it had sent before has arrived.
    has_drained: bool,
    answers: Answers,
    /// Streams while the limits are those of an unauthenticated client; `None` afterwards.
    unauthenticated: Option<usize>,
    _open: mpsc::Receiver<()>,
}

/// The peer has sent nothing, not even the answer to a ping.
#[derive(Debug, thiserror::Error)]
#[error("the peer answers no ping")]
struct Silent;

/// The peer has ended the connection.
#[derive(Debug, thiserror::Error)]
#[error("the TCP connection was closed")]
struct Ended;

impl Driver {
    /// A driver, which is to be spawned.
    pub(in super::super) fn new(
        mut http2: Http2,
        role: Role,
        session: Arc<Shared>,
        connection: Connection,
        open: mpsc::Receiver<()>,
    ) -> Self {
        let (pings, unauthenticated) = match &mut http2 {
            Http2::Client(client) => (client.ping_pong(), None),
            Http2::Server(_) => (None, Some(0)),
        };
        Self {
            http2,
            role,
            session,
            connection,
            pings,
            rate_watch: RateWatch::default(),
            send_rate: SendRate::default(),
            look: Box::pin(tokio::time::sleep(Duration::ZERO)),
            silence: Box::pin(tokio::time::sleep(KEEP_ALIVE_INTERVAL)),
            idle: (0, 0),
            begun: Instant::now(),
            closed: None,
            has_drained: false,
            answers: Answers::default(),
            unauthenticated,
            _open: open,
        }
    }

    /// A stream of the client: the first of a connection is passed here by the listener.
    pub(in super::super) fn take(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (incoming, kind) = match (&self.role, self.kind_of(&request)) {
            (Role::ServerControl { incoming } | Role::ServerBulk { incoming, .. }, Some(kind))
                if !self.session.is_refused() =>
            {
                (incoming, kind)
            }
            _ => return self.answers.answer(request, respond),
        };
        let (body, outbox) = (request.into_body(), Arc::clone(&self.connection.outbox));
        let head = signal::response(self.session.token().filter(|_| kind == Kind::Control));
        let wire = Wire::Response(Box::new(respond), head);
        let (stream, outcome) = match kind {
            Kind::Control => (CONTROL, outbox.add_control(wire)),
            Kind::Padding => {
                self.connection.meter.limit_unsent(PADDING_UNSENT_BYTES);
                outbox.add_padding(wire)
            }
            Kind::Other => outbox.add(wire),
        };
        if let Some(count) = &mut self.unauthenticated {
            *count += 1;
        }
        // An error means that the session has ended.
        let _ = incoming.send(Incoming { body, outbox, stream, outcome, kind });
    }

    /// What the request is for, if it is one of a client.
    fn kind_of(&self, request: &Request<RecvStream>) -> Option<Kind> {
        let outbox = &self.connection.outbox;
        if signal::is_padding_request(request) {
            return (self.session.is_authenticated() && outbox.is_idle()).then_some(Kind::Padding);
        }
        let is_control = matches!(self.role, Role::ServerControl { .. }) && !outbox.has_control();
        signal::is_stream(request).then_some(if is_control { Kind::Control } else { Kind::Other })
    }

    /// Moves h2 as far as it goes. Ready at the end of the connection.
    fn poll_http2(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            let accepted = match &mut self.http2 {
                Http2::Client(client) => return Pin::new(client).poll(cx),
                Http2::Server(server) => match server.poll_accept(cx)? {
                    Poll::Ready(Some(accepted)) => accepted,
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                },
            };
            self.take(accepted.0, accepted.1);
            self.limit_unauthenticated();
        }
    }

    /// Ends a connection with too many streams before its Hello is accepted. A client waits with more.
    fn limit_unauthenticated(&mut self) {
        if let Http2::Server(server) = &mut self.http2
            && self.unauthenticated.unwrap_or(0) + self.answers.open() > UNAUTHENTICATED_STREAMS_MAX as usize
        {
            server.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }

    fn raise_limits(&mut self) {
        if let Http2::Server(server) = &mut self.http2
            && self.session.is_authenticated()
            && self.unauthenticated.take().is_some()
        {
            server.set_target_window_size(AUTHENTICATED_RECEIVE_WINDOW);
        }
    }

    /// Reads a client's control stream: whether the server accepts it, its messages, and how it ends the session.
    fn poll_control(&mut self, cx: &mut Context<'_>) {
        let Role::ClientControl { stream, messages } = &mut self.role else { return };
        loop {
            match stream {
                ControlStream::Awaited(response) => {
                    let Poll::Ready(response) = Pin::new(response).poll(cx) else { return };
                    // The end of the connection ends the session.
                    let Ok(response) = response else { return };
                    if response.status() != StatusCode::OK {
                        self.session.end(signal::not_found(), || ());
                        return;
                    }
                    self.session.accepted(response.headers());
                    *stream = ControlStream::Open(response.into_body());
                }
                ControlStream::Open(body) => match body.poll_data(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Some(Ok(bytes))) => {
                        let _ = body.flow_control().release_capacity(bytes.len());
                        // An error means that nothing reads them.
                        let _ = messages.send(bytes);
                    }
                    Poll::Ready(Some(Err(_))) => return,
                    Poll::Ready(None) => {
                        let Poll::Ready(trailers) = body.poll_trailers(cx) else { return };
                        let closed =
                            trailers.ok().flatten().and_then(|trailers| signal::parse_close(&trailers));
                        let closed = closed.unwrap_or_else(|| SessionError::Failed(Arc::new(Ended)));
                        return self.session.end(closed, || ());
                    }
                },
            }
        }
    }

    /// Pings when it is time, and notices silence.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Result<(), Silent> {
        while self.silence.as_mut().poll(cx).is_ready() {
            self.wait_for_silence();
            self.idle.0 += 1;
            self.connection.probe.want();
            if self.idle.0 >= IDLE_INTERVALS {
                return Err(Silent);
            }
        }
        Ok(())
    }

    fn wait_for_silence(&mut self) {
        self.silence.as_mut().reset((Instant::now() + KEEP_ALIVE_INTERVAL).into());
    }

    /// Whatever has arrived ends the silence.
    fn hear(&mut self) {
        let received = self.connection.meter.received();
        if received != self.idle.1 {
            self.idle = (0, received);
            self.wait_for_silence();
        }
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) {
        let Connection { probe, meter, load, .. } = &self.connection;
        let (Some(pings), rtt, now) = (&mut self.pings, self.session.rtt(), Instant::now()) else { return };
        if self.rate_watch.due().is_some()
            && pings.poll_pong(cx).is_ready()
            && let Some((took, verdict)) = self.rate_watch.answered(now, meter.received(), rtt)
        {
            self.has_drained |= self.closed.is_some_and(|closed| closed + took <= now);
            probe.measured(took, rtt, now);
            match (verdict, self.rate_watch.slow_since()) {
                (Verdict::Collapsed, Some(since)) if self.session.others_answer(&self.connection, since) => {
                    load.collapse();
                }
                (Verdict::Slow | Verdict::Collapsed, _) => probe.want(),
                _ => {}
            }
        }
        if !probe.is_wanted() {
            return;
        }
        if self.rate_watch.due().is_some() {
            // The one that waits for its answer shows as much.
            probe.has_sent();
        } else if pings.send_ping(Ping::opaque()).is_ok() {
            probe.has_sent();
            self.rate_watch.ping_sent(now, meter.received(), rtt);
            // Registers for the answer.
            let _ = pings.poll_pong(cx);
        }
    }

    /// Looks at a ping that waits long for its answer. If no other connection answers either, the path is to blame, or a
    /// machine: then it is not for one connection to decide what becomes of the session.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Result<(), Silent> {
        while let Some(due) = self.rate_watch.due() {
            let due = due.into();
            if self.look.deadline() != due {
                self.look.as_mut().reset(due);
            }
            if self.look.as_mut().poll(cx).is_pending() {
                break;
            }
            let Connection { meter, load, .. } = &self.connection;
            let verdict = self.rate_watch.look(Instant::now(), meter.received(), self.session.rtt());
            let others_answer = || {
                let since = self.rate_watch.slow_since();
                since.is_some_and(|since| self.session.others_answer(&self.connection, since))
            };
            match verdict {
                Verdict::Collapsed if load.has_bulk() && others_answer() => load.collapse(),
                Verdict::Silent if others_answer() => return Err(Silent),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether what the server had sent before it closed the session may still be on its way: the close came over
    /// another connection, and overtakes large bodies.
    fn is_draining(&self) -> bool {
        let Connection { load, .. } = &self.connection;
        let is_bulk = matches!(self.role, Role::ClientBulk { .. });
        is_bulk && self.closed.is_some() && !self.has_drained && (load.has_bulk() || load.has_small())
    }

    /// Whether the connection has nothing more to do, although its peer has not ended it.
    fn is_done(&self, close_reason: Option<SessionError>) -> bool {
        let is_late = self.closed.is_some_and(|closed| closed.elapsed() > CLOSE_TIMEOUT);
        match close_reason {
            None => !self.session.has(&self.connection) || self.is_retired(),
            _ if self.session.is_refused() => self.session.is_released(),
            // The server waits until the client has read why.
            Some(SessionError::Closed) if !self.session.is_client() => is_late,
            Some(SessionError::Closed) => !self.connection.meter.is_blocked() || is_late,
            Some(SessionError::ClosedByPeer { .. }) => !self.is_draining() || is_late,
            Some(_) => true,
        }
    }

    /// Whether its rate has collapsed, and another one is there. What it still has of large bodies is asked for again:
    /// at its rate that would take longer, since a whole window waits for it.
    fn is_retired(&self) -> bool {
        let load = &self.connection.load;
        matches!(self.role, Role::ClientBulk { .. })
            && load.has_collapsed()
            && !load.has_small()
            && self.session.has_newer(&self.connection)
    }

    fn answer_refused(&self) {
        if self.session.is_refused() {
            for (stream, respond) in self.connection.outbox.take_unanswered() {
                let body = self.session.take_unread().filter(|_| stream == CONTROL);
                self.answers.answer_refused(self.begun.into(), body, respond);
            }
        }
    }

    fn poll_until_lost(&mut self, cx: &mut Context<'_>) -> Poll<SessionError> {
        if let Err(silent) = self.poll_time(cx) {
            return Poll::Ready(SessionError::Failed(Arc::new(silent)));
        }
        self.raise_limits();
        loop {
            for (stream, reason) in self.connection.outbox.poll(cx) {
                if stream == CONTROL && matches!(self.role, Role::ServerControl { .. }) {
                    self.session.end(signal::closed_by(reason), || ());
                }
            }
            self.answer_refused();
            // What tells the peer is with h2 before this reason is here.
            let close_reason = self.session.close_reason();
            if close_reason.is_some() {
                self.closed.get_or_insert_with(Instant::now);
            }
            if self.is_draining() {
                self.connection.probe.want();
            }
            self.poll_ping(cx);
            let polled = self.poll_http2(cx);
            self.hear();
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(SessionError::Failed(match ended {
                    Ok(()) => Arc::new(Ended),
                    // rustls's own text is for programmers.
                    Err(error)
                        if error.get_io().is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) =>
                    {
                        Arc::new(Ended)
                    }
                    Err(error) => Arc::new(error),
                }));
            }
            self.poll_control(cx);
            if let Err(silent) = self.poll_look(cx) {
                return Poll::Ready(SessionError::Failed(Arc::new(silent)));
            }
            if self.is_done(close_reason) {
                return Poll::Ready(SessionError::Failed(Arc::new(Ended)));
            }
            // What h2 has must have left before it gets more.
            let Connection { meter, outbox, .. } = &self.connection;
            if meter.is_blocked() {
                self.send_rate.blocked(Instant::now(), meter.sent());
            } else if outbox.pass_batch(self.send_rate.batch()) {
                continue;
            } else {
                self.send_rate.idle();
            }
            let unsent = self.send_rate.unsent();
            meter.limit_unsent(if outbox.is_padding() { unsent.min(PADDING_UNSENT_BYTES) } else { unsent });
            return Poll::Pending;
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Poll::Ready(error) = self.poll_until_lost(cx) else { return Poll::Pending };
        // The last frames that arrived may say more than that the connection has ended.
        for (stream, reason) in self.connection.outbox.poll(cx) {
            if stream == CONTROL && matches!(self.role, Role::ServerControl { .. }) {
                self.session.end(signal::closed_by(reason), || ());
            }
        }
        self.poll_control(cx);
        match &self.role {
            Role::ClientControl { .. } | Role::ServerControl { .. } => self.session.end(error, || ()),
            Role::ClientBulk { .. } | Role::ServerBulk { .. } => self.session.left(&self.connection),
        }
        Poll::Ready(())
    }
}
