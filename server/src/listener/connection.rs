//! One client's connection: its Hello, then its streams, each in a task of its own.
//!
//! No stream is begun before the Hello has been accepted, and what a client does on one stream
//! costs its other streams, and other clients, nothing.

use super::congestion::{self, Observer};
use super::paths::Paths;
use super::roster::Roster;
use super::unauthenticated::{Place, Unauthenticated};
use crate::exchange::{self, ExchangeSegments, Outgoing, Ranks, SegmentStreams};
use crate::live::Live;
use crate::places::ClientPlaces;
use crate::state::{ClientBook, ClientUsage, ClientWatch, Usage};
use docxy_host::log_rate_limit::LogLimits;
use docxy_protocol::congestion::{Choice, Handle};
use docxy_protocol::control::{CloseCode, ControlMessage, Hello, StreamHeader};
use docxy_protocol::frame::{self, FrameError};
use docxy_protocol::limits::{
    AUTHENTICATED_RECEIVE_WINDOW, AUTHENTICATION_TIMEOUT, STREAM_HEADER_TIMEOUT, STREAMS_PER_CLIENT_MAX,
};
use docxy_protocol::text::clean;
use docxy_protocol::transport;
use futures_util::FutureExt as _;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream, ServerConfig, VarInt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clients: ClientWatch,
    pub(super) usage: Usage,
    pub(super) roster: Arc<Roster>,
    pub(super) unauthenticated: Arc<Unauthenticated>,
    /// Counts the streams of all connections.
    pub(super) streams: TaskTracker,
    pub(super) live: Arc<Live>,
    pub(super) paths: Arc<Paths>,
    /// Lines about connections whose client is not authenticated.
    pub(super) stranger_lines: LogLimits<&'static str>,
    pub(super) quic: ServerConfig,
    pub(super) drain: CancellationToken,
}

/// How long a client that was told of the drain may take to fetch what is under way and hang up.
const LAST_BYTES: Duration = Duration::from_secs(10);

/// How long a notice may wait for a client to read it. Nothing else of its stream is unread.
const NOTICE: Duration = Duration::from_secs(1);

/// How often a connection's bytes are added to the client's account.
const ACCOUNTING: Duration = Duration::from_secs(10);

/// Serves one connection from its first packet to its end.
pub(super) async fn run(incoming: Incoming, place: Place, shared: Arc<Shared>) {
    let span = tracing::info_span!("connection", remote = %incoming.remote_address(), client = tracing::field::Empty);
    async {
        // The Hello will say how to send; until then, and for most, what the path is measured to do.
        let handle = Handle::new(Choice::Auto);
        if let Some(authenticated) = authenticate_in_time(incoming, place, &shared, &handle).await {
            // Boxed, so that a half-open connection's task holds no room for it.
            Box::pin(serve(authenticated, handle, shared)).await;
        }
    }
    .instrument(span)
    .await;
}

/// A connection whose client has proved who it is.
struct Authenticated {
    connection: Connection,
    hello: Hello,
    control: SendStream,
    /// The clients, seen up to the book by which this one was let in.
    clients: watch::Receiver<Arc<ClientBook>>,
}

/// Has the client authenticated, or the connection closed, by one deadline for handshake and Hello,
/// before its place goes to a newer connection, and before the server drains.
async fn authenticate_in_time(
    incoming: Incoming,
    place: Place,
    shared: &Shared,
    congestion: &Handle,
) -> Option<Authenticated> {
    let mut opened = None;
    let code = tokio::select! {
        authenticated = authenticate(incoming, shared, congestion, &mut opened) => match authenticated {
            Ok(authenticated) => return Some(authenticated),
            Err(code) => code,
        },
        () = tokio::time::sleep(AUTHENTICATION_TIMEOUT) => CloseCode::HelloTimeout,
        () = place.evicted() => CloseCode::Overloaded,
        () = shared.drain.cancelled() => CloseCode::Draining,
    };
    match opened {
        Some(connection) => close_stranger(&connection, code, shared),
        // quinn closes a connection that is dropped in its handshake.
        None => tracing::debug!(reason = code.reason(), "closing in the handshake"),
    }
    None
}

/// Handshake, Hello, verdict. Leaves the connection in `opened` once there is one to close.
async fn authenticate(
    incoming: Incoming,
    shared: &Shared,
    congestion: &Handle,
    opened: &mut Option<Connection>,
) -> Result<Authenticated, CloseCode> {
    let connection = handshake(incoming, &shared.quic, congestion).await.map_err(|error| {
        tracing::debug!(error = %clean(error), "handshake failed");
        CloseCode::ProtocolViolation
    })?;
    *opened = Some(connection.clone());
    let (hello, control) = read_hello(&connection).await?;
    tracing::Span::current().record("client", hello.name.to_string());
    let clients = shared.clients.subscribe();
    admit(&shared.clients, &hello).await?;
    Ok(Authenticated { connection, hello, control, clients })
}

/// quinn takes a congestion control at this moment and no other.
async fn handshake(
    incoming: Incoming,
    quic: &ServerConfig,
    congestion: &Handle,
) -> Result<Connection, ConnectionError> {
    let mut config = quic.clone();
    config.transport_config(Arc::new(transport::server_config(congestion)));
    incoming.accept_with(Arc::new(config))?.await
}

async fn serve(authenticated: Authenticated, handle: Handle, shared: Arc<Shared>) {
    let Authenticated { connection, hello, mut control, mut clients } = authenticated;
    connection.set_receive_window(VarInt::from_u32(AUTHENTICATED_RECEIVE_WINDOW));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS_PER_CLIENT_MAX));
    let usage = shared.usage.client(&hello.name);
    usage.seen(jiff::Timestamp::now());
    tracing::info!("connected");
    handle.choose(congestion::granted(hello.congestion, shared.live.current().fixed_rate_limit));
    let remote = || connection.remote_address();
    let paths = Arc::clone(&shared.paths);
    let mut observer = Observer::begin(handle, paths, hello.name.clone(), remote(), Instant::now());
    let entry = shared.roster.enter(&hello.name, &connection);
    notify(&mut control, &ControlMessage::Welcome { version: env!("CARGO_PKG_VERSION").into() }).await;

    let streams = TaskTracker::new();
    let client = Arc::new(Client {
        segments: SegmentStreams::default(),
        ranks: Ranks::default(),
        places: Arc::clone(&entry.places),
        shared: Arc::clone(&shared),
    });
    let mut accounting = tokio::time::interval(ACCOUNTING);
    let mut account = Account { usage, sent: 0, received: 0 };
    let mut draining = false;
    let last_bytes = last_bytes(streams.clone());
    tokio::pin!(last_bytes);
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => accept(&client, &streams, send, receive),
                Err(error) => {
                    tracing::info!(reason = %clean(error), "disconnected");
                    break;
                }
            },
            Ok(()) = clients.changed() => {
                let verdict = clients.borrow_and_update().authenticate(&hello.name, &hello.secret);
                if let Err(code) = verdict {
                    close(&connection, code);
                    break;
                }
            }
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                notify(&mut control, &ControlMessage::Draining).await;
                // Segment streams still come in, or running answers could not finish.
                streams.close();
            }
            () = &mut last_bytes, if draining => {
                close(&connection, CloseCode::Draining);
                break;
            }
            _ = accounting.tick() => {
                account.update(&connection);
                observer.update(remote(), Instant::now());
            }
        }
    }
    account.update(&connection);
    observer.end(remote(), Instant::now());
}

/// Checks a Hello against the clients as they are.
async fn admit(clients: &ClientWatch, hello: &Hello) -> Result<(), CloseCode> {
    let book = clients.subscribe();
    let verdict = || book.borrow().authenticate(&hello.name, &hello.secret);
    match verdict() {
        // A link is often used the moment it is made, and a refusal makes its client wait for a minute.
        Err(CloseCode::UnknownClient) => {
            clients.next_look().await;
            verdict()
        }
        known => known,
    }
}

/// Reads the first stream, which has to say who is calling.
async fn read_hello(connection: &Connection) -> Result<(Hello, SendStream), CloseCode> {
    let (send, mut receive) = connection.accept_bi().await.map_err(|_| CloseCode::ProtocolViolation)?;
    match frame::read(&mut receive).await {
        Ok(StreamHeader::Hello(hello)) => Ok((hello, send)),
        Ok(_) | Err(_) => Err(CloseCode::ProtocolViolation),
    }
}

/// Resolves when nothing is under way any more and the client has had time to fetch what was sent.
/// It knows when it has everything, and hangs up before; meanwhile its requests are still refused.
async fn last_bytes(streams: TaskTracker) {
    streams.wait().await;
    tokio::time::sleep(LAST_BYTES).await;
}

/// What one client's streams share.
struct Client {
    segments: SegmentStreams,
    ranks: Ranks,
    places: Arc<ClientPlaces>,
    shared: Arc<Shared>,
}

/// Begins the work on a stream. Must be called in the order in which streams are accepted: see
/// [`exchange::SegmentStreams`]. A segment's header comes with its stream, so most cost no task.
fn accept(client: &Arc<Client>, streams: &TaskTracker, send: SendStream, mut receive: RecvStream) {
    let id = u64::from(receive.id());
    let answer = Outgoing::new(send, client.shared.streams.token());
    let mut reading =
        Box::pin(async move { tokio::time::timeout(STREAM_HEADER_TIMEOUT, frame::read(&mut receive)).await });
    let segments = match (&mut reading).now_or_never() {
        Some(Ok(Ok(StreamHeader::Segment(segment)))) => return client.segments.add(segment, answer),
        Some(header) => {
            let segments = client.segments.register(id);
            let work = begin(Arc::clone(client), id, header, answer, segments);
            return drop(streams.spawn(work.in_current_span()));
        }
        None => client.segments.register(id),
    };
    let client = Arc::clone(client);
    let work = async move { begin(client, id, reading.await, answer, segments).await };
    streams.spawn(work.in_current_span());
}

/// Does what a stream's header wants.
async fn begin(
    client: Arc<Client>,
    id: u64,
    header: Result<Result<StreamHeader, FrameError>, Elapsed>,
    answer: Outgoing,
    segments: ExchangeSegments,
) {
    match header {
        Ok(Ok(StreamHeader::Request(request))) => {
            let request = request.without_foreign_credentials();
            let span = tracing::info_span!(
                "exchange",
                id,
                registry = %request.registry,
                operation = request.operation.name(),
                repository = request.operation.repository().map(tracing::field::display),
            );
            async {
                if client.shared.drain.is_cancelled() {
                    return exchange::refuse_draining(answer).await;
                }
                let Client { places, ranks, shared, .. } = &*client;
                // Once: what is under way goes on by the settings that it began with.
                let in_use = shared.live.current();
                exchange::run(request, answer, segments, places, ranks, &in_use.upstream).await;
            }
            .instrument(span)
            .await;
        }
        Ok(Ok(StreamHeader::Segment(segment))) => client.segments.add(segment, answer),
        // A second Hello, garbage, or nothing in time: the stream is reset by dropping it.
        Ok(Ok(StreamHeader::Hello(_))) => tracing::debug!(id, "a second hello"),
        Ok(Err(error)) => tracing::debug!(id, error = %clean(error), "a stream without a head"),
        Err(_) => tracing::debug!(id, "a stream that said nothing"),
    }
}

async fn notify(control: &mut SendStream, notice: &ControlMessage) {
    if let Ok(frame) = frame::encode(notice) {
        // A client that is gone is noticed by the accepting, and one that doesn't read must not
        // keep us from it.
        let _ = tokio::time::timeout(NOTICE, control.write_all(&frame)).await;
    }
}

fn close(connection: &Connection, code: CloseCode) {
    tracing::info!(reason = code.reason(), "closing");
    hang_up(connection, code);
}

/// The same for a client that is not authenticated, and must not fill the disk with its attempts.
fn close_stranger(connection: &Connection, code: CloseCode, shared: &Shared) {
    if let Some(suppressed) = shared.stranger_lines.admit(code.reason()) {
        tracing::info!(reason = code.reason(), suppressed, "closing");
    }
    hang_up(connection, code);
}

fn hang_up(connection: &Connection, code: CloseCode) {
    connection.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
}

/// Carries a connection's byte counts, which only grow, over to the client's.
struct Account {
    usage: Arc<ClientUsage>,
    sent: u64,
    received: u64,
}

impl Account {
    fn update(&mut self, connection: &Connection) {
        let stats = connection.stats();
        self.usage.add_sent(stats.udp_tx.bytes - self.sent);
        self.usage.add_received(stats.udp_rx.bytes - self.received);
        (self.sent, self.received) = (stats.udp_tx.bytes, stats.udp_rx.bytes);
        self.usage.seen(jiff::Timestamp::now());
    }
}
