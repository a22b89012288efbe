//! One client's connection: its Hello, then its exchanges, each in a task of its own.
//!
//! Must never start an exchange before the Hello is accepted, or let one stream block other streams or
//! other clients.

use super::client_connections::ClientConnections;
use super::congestion::{PathObserver, within_limit};
use super::path_cache::PathCache;
use super::unauthenticated::{Slot, Unauthenticated};
use crate::admission::ClientAdmission;
use crate::counters::Counters;
use crate::exchange;
use crate::lifecycle::active_settings::ActiveSettings;
use crate::state::{ClientList, ClientUsage, ClientWatch, Usage};
use crate::streams::{ExchangeSegments, Priorities, ResponseStream, SegmentStreams};
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

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clients: ClientWatch,
    pub(super) usage: Usage,
    pub(super) connections: Arc<ClientConnections>,
    pub(super) unauthenticated: Arc<Unauthenticated>,
    /// Counts the open streams of all connections.
    pub(super) streams: TaskTracker,
    pub(super) settings: Arc<ActiveSettings>,
    pub(super) counters: Arc<Counters>,
    pub(super) path_cache: Arc<PathCache>,
    /// Limits the log lines about unauthenticated connections.
    pub(super) unauthenticated_log_limits: LogLimits<&'static str>,
    pub(super) quic: ServerConfig,
    pub(super) drain: CancellationToken,
}

/// How long a client may take, during the drain, to read what was sent and close its connection.
const DRAIN_LINGER: Duration = Duration::from_secs(10);

/// How long the server waits for a client to accept a notice. The control stream carries nothing else.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a connection's bytes are added to the client's usage.
const USAGE_INTERVAL: Duration = Duration::from_secs(10);

/// Serves one connection from its first packet to its end.
pub(super) async fn run(incoming: Incoming, slot: Slot, shared: Arc<Shared>) {
    let span = tracing::info_span!("connection", remote = %incoming.remote_address(), client = tracing::field::Empty);
    async {
        // The Hello names the congestion control. Until then it is `auto`.
        let handle = Handle::new(Choice::Auto);
        if let Some(authenticated) = authenticate_in_time(incoming, slot, &shared, &handle).await {
            // Boxed, so that the task of an unauthenticated connection stays small.
            Box::pin(serve(authenticated, handle, shared)).await;
        }
    }
    .instrument(span)
    .await;
}

/// A connection whose client is authenticated.
struct Authenticated {
    connection: Connection,
    hello: Hello,
    control: SendStream,
    /// Reports each change of the clients after the one that this client was authenticated with.
    clients: watch::Receiver<Arc<ClientList>>,
}

/// Authenticates the client, or closes the connection: at the deadline for handshake and Hello, when a newer
/// connection evicts it, or when the server drains.
async fn authenticate_in_time(
    incoming: Incoming,
    slot: Slot,
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
        () = slot.evicted() => CloseCode::Overloaded,
        () = shared.drain.cancelled() => CloseCode::Draining,
    };
    match opened {
        Some(connection) => close_unauthenticated(&connection, code, shared),
        // quinn closes a connection that is dropped in its handshake.
        None => tracing::debug!(reason = code.reason(), "closing in the handshake"),
    }
    None
}

/// Does the handshake and checks the Hello. Puts the connection into `opened` after the handshake, so that
/// the caller can close it.
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
    check_hello(&shared.clients, &hello).await?;
    Ok(Authenticated { connection, hello, control, clients })
}

/// Accepts the handshake. Only here can quinn be given a congestion controller.
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
    let choice = within_limit(hello.congestion, shared.settings.current().fixed_rate_limit);
    if choice != hello.congestion {
        shared.counters.rate_capped();
    }
    handle.choose(choice);
    let remote = || connection.remote_address();
    let path_cache = Arc::clone(&shared.path_cache);
    let mut observer = PathObserver::start(handle, path_cache, hello.name.clone(), remote(), Instant::now());
    let registration = shared.connections.register(&hello.name, &connection);
    notify(&mut control, &ControlMessage::Welcome { version: env!("CARGO_PKG_VERSION").into() }).await;

    let streams = TaskTracker::new();
    let client = Arc::new(ConnectionContext {
        segments: SegmentStreams::default(),
        priorities: Priorities::default(),
        admission: Arc::clone(&registration.admission),
        shared: Arc::clone(&shared),
    });
    let mut usage_interval = tokio::time::interval(USAGE_INTERVAL);
    let mut usage_recorder = UsageRecorder { usage, sent: 0, received: 0 };
    let mut draining = false;
    let drained = drained(streams.clone());
    tokio::pin!(drained);
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => handle_stream(&client, &streams, send, receive),
                Err(error) => {
                    tracing::info!(reason = %clean(error), "disconnected");
                    break;
                }
            },
            Ok(()) = clients.changed() => {
                let result = clients.borrow_and_update().authenticate(&hello.name, &hello.secret);
                if let Err(code) = result {
                    close(&connection, code);
                    break;
                }
            }
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                notify(&mut control, &ControlMessage::Draining).await;
                // Segment streams are still accepted, so that running responses can finish.
                streams.close();
            }
            () = &mut drained, if draining => {
                close(&connection, CloseCode::Draining);
                break;
            }
            _ = usage_interval.tick() => {
                usage_recorder.update(&connection);
                observer.update(remote(), Instant::now());
            }
        }
    }
    usage_recorder.update(&connection);
    observer.end(remote(), Instant::now());
}

/// Authenticates a Hello.
async fn check_hello(clients: &ClientWatch, hello: &Hello) -> Result<(), CloseCode> {
    let book = clients.subscribe();
    let result = || book.borrow().authenticate(&hello.name, &hello.secret);
    match result() {
        // A link is often used right after it was made, and after a refusal its client waits for a minute.
        Err(CloseCode::UnknownClient) => {
            clients.next_poll().await;
            result()
        }
        other => other,
    }
}

/// Reads the Hello, which must be on the first stream.
async fn read_hello(connection: &Connection) -> Result<(Hello, SendStream), CloseCode> {
    let (send, mut receive) = connection.accept_bi().await.map_err(|_| CloseCode::ProtocolViolation)?;
    match frame::read(&mut receive).await {
        Ok(StreamHeader::Hello(hello)) => Ok((hello, send)),
        Ok(_) | Err(_) => Err(CloseCode::ProtocolViolation),
    }
}

/// Resolves when all exchanges have ended and the client has had time to read what was sent. A client closes
/// the connection before that, as soon as it has everything. Meanwhile its new requests are refused.
async fn drained(streams: TaskTracker) {
    streams.wait().await;
    tokio::time::sleep(DRAIN_LINGER).await;
}

/// The state that all streams of a connection share.
struct ConnectionContext {
    segments: SegmentStreams,
    priorities: Priorities,
    admission: Arc<ClientAdmission>,
    shared: Arc<Shared>,
}

/// Handles a new stream. Must be called in the order in which streams are accepted: see [`SegmentStreams`].
/// A segment's header arrives with its stream, so most segment streams cost no task.
fn handle_stream(
    client: &Arc<ConnectionContext>,
    streams: &TaskTracker,
    send: SendStream,
    mut receive: RecvStream,
) {
    let id = u64::from(receive.id());
    let stream = ResponseStream::new(send, client.shared.streams.token());
    let mut header =
        Box::pin(async move { tokio::time::timeout(STREAM_HEADER_TIMEOUT, frame::read(&mut receive)).await });
    let segments = match (&mut header).now_or_never() {
        Some(Ok(Ok(StreamHeader::Segment(segment)))) => return client.segments.add(segment, stream),
        Some(header) => {
            let segments = client.segments.register(id);
            let work = handle_header(Arc::clone(client), id, header, stream, segments);
            return drop(streams.spawn(work.in_current_span()));
        }
        None => client.segments.register(id),
    };
    let client = Arc::clone(client);
    let work = async move { handle_header(client, id, header.await, stream, segments).await };
    streams.spawn(work.in_current_span());
}

/// Handles a stream whose header was read.
async fn handle_header(
    client: Arc<ConnectionContext>,
    id: u64,
    header: Result<Result<StreamHeader, FrameError>, Elapsed>,
    stream: ResponseStream,
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
                    return exchange::refuse_draining(stream).await;
                }
                let ConnectionContext { admission, priorities, shared, .. } = &*client;
                // Read once: an exchange keeps the settings that it started with.
                let settings = shared.settings.current();
                let (upstream, counters) = (&settings.upstream, &shared.counters);
                exchange::run(request, stream, segments, admission, priorities, upstream, counters).await;
            }
            .instrument(span)
            .await;
        }
        Ok(Ok(StreamHeader::Segment(segment))) => client.segments.add(segment, stream),
        // Dropping the stream resets it.
        Ok(Ok(StreamHeader::Hello(_))) => tracing::debug!(id, "second Hello on a connection"),
        Ok(Err(error)) => tracing::debug!(id, error = %clean(error), "invalid stream header"),
        Err(_) => tracing::debug!(id, "no stream header in time"),
    }
}

async fn notify(control: &mut SendStream, notice: &ControlMessage) {
    if let Ok(frame) = frame::encode(notice) {
        // A closed connection is noticed elsewhere, and a client that doesn't read must not block this task.
        let _ = tokio::time::timeout(NOTICE_TIMEOUT, control.write_all(&frame)).await;
    }
}

fn close(connection: &Connection, code: CloseCode) {
    tracing::info!(reason = code.reason(), "closing");
    close_connection(connection, code);
}

/// The same for an unauthenticated client. Its attempts must not fill the disk, so the log lines are limited.
fn close_unauthenticated(connection: &Connection, code: CloseCode, shared: &Shared) {
    shared.counters.connection_refused();
    if let Some(suppressed) = shared.unauthenticated_log_limits.admit(code.reason()) {
        tracing::info!(reason = code.reason(), suppressed, "closing");
    }
    close_connection(connection, code);
}

fn close_connection(connection: &Connection, code: CloseCode) {
    connection.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
}

/// Adds a connection's byte counts to its client's usage.
struct UsageRecorder {
    usage: Arc<ClientUsage>,
    sent: u64,
    received: u64,
}

impl UsageRecorder {
    fn update(&mut self, connection: &Connection) {
        let stats = connection.stats();
        self.usage.add_sent(stats.udp_tx.bytes - self.sent);
        self.usage.add_received(stats.udp_rx.bytes - self.received);
        (self.sent, self.received) = (stats.udp_tx.bytes, stats.udp_rx.bytes);
        self.usage.seen(jiff::Timestamp::now());
    }
}
