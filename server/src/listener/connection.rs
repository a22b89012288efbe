//! One client's connection: its Hello, then its exchanges, each in a task of its own.
//!
//! Must never start an exchange before the Hello is accepted, or let one stream block other streams or
//! other clients.

use super::client_connections::{ClientConnections, Registration};
use super::congestion::{LossNotices, PathObserver, base_loss, within_limit};
use super::path_cache::PathCache;
use super::unauthenticated::{Slot, Unauthenticated};
use crate::admission::ClientAdmission;
use crate::budget::BudgetShare;
use crate::counters::Counters;
use crate::exchange::{self, ExchangeLog, Resources};
use crate::lifecycle::active_settings::ActiveSettings;
use crate::state::{ClientList, ClientUsage, ClientWatch, Usage};
use crate::streams::{ExchangeSegments, FairQueue, OpenStreams, ResponseStream, SegmentStreams};
use bytes::Bytes;
use docxy_host::logging::rate_limit::LogLimits;
use docxy_host::logging::spans;
use docxy_host::metrics::BUSY_BYTES_MIN;
use docxy_protocol::congestion::Handle;
use docxy_protocol::control::{
    CloseCode, ControlMessage, ExchangeId, Hello, HelloBeginning, RequestHeader, StreamHeader, Welcome,
};
use docxy_protocol::frame;
use docxy_protocol::limits::{
    AUTHENTICATION_TIMEOUT, CLOSE_CONFIRMATION_TIMEOUT, ECHO_BYTES_MAX, ECHO_TIMEOUT, STREAM_HEADER_TIMEOUT,
};
use docxy_protocol::link::{ClientName, ClientSecret};
use docxy_protocol::request::Request;
use docxy_protocol::text::clean;
use docxy_protocol::version::{PREAMBLE_BYTES, parse_preamble, upgrade_client};
use docxy_transport::{Incoming, Path, ReadError, ReceiveStream, SendStream, Session};
use futures_util::FutureExt as _;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct ListenerContext {
    pub(super) clients: ClientWatch,
    pub(super) usage: Usage,
    pub(super) connections: Arc<ClientConnections>,
    pub(super) unauthenticated: Arc<Unauthenticated>,
    /// Counts the open streams of all connections.
    pub(super) streams: OpenStreams,
    pub(super) settings: Arc<ActiveSettings>,
    pub(super) counters: Arc<Counters>,
    pub(super) log: ExchangeLog,
    pub(super) path_cache: Arc<PathCache>,
    /// Limits the log lines about unauthenticated connections.
    pub(super) unauthenticated_log_limits: LogLimits<&'static str>,
    /// The server drains: clients, newcomers too, move to another server, or finish here.
    pub(super) drain: CancellationToken,
    /// The server ends: what still runs is handed back to the clients, which request the rest again.
    pub(super) hand_back: CancellationToken,
}

/// How long the server waits for a client to accept a notice. The control stream carries nothing else.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a client to which much is sent is told what was lost.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How often a connection's bytes are added to the client's usage, which `docxy-server clients` shows.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// Serves one connection from its first packet to its end.
pub(super) async fn run(incoming: Incoming, slot: Slot, shared: Arc<ListenerContext>) {
    let span = tracing::info_span!("connection", remote = %incoming.remote_address(), client = tracing::field::Empty);
    async {
        if let Some(authenticated) = authenticate_in_time(incoming, slot, &shared).await {
            // Boxed, so that the task of an unauthenticated connection stays small.
            Box::pin(serve(authenticated, shared)).await;
        }
    }
    .instrument(span)
    .await;
}

/// A connection whose client is authenticated.
struct Authenticated {
    session: Session,
    hello: Hello,
    control: SendStream,
    /// Reports each change of the clients after the one that this client was authenticated with.
    clients: watch::Receiver<Arc<ClientList>>,
}

/// Why a connection has no authenticated client.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// Its client has a link of this server, and learns the reason.
    Client(CloseCode),
    /// It may be anybody's.
    Stranger(CloseCode),
}

impl Refusal {
    const fn code(self) -> CloseCode {
        match self {
            Self::Client(code) | Self::Stranger(code) => code,
        }
    }
}

/// Authenticates the client, or closes the connection: at the deadline for handshake and Hello, when a newer
/// connection evicts it, or when the server ends. `None` also if it begins no session.
async fn authenticate_in_time(
    incoming: Incoming,
    slot: Slot,
    shared: &ListenerContext,
) -> Option<Authenticated> {
    let deadline = tokio::time::Instant::now() + AUTHENTICATION_TIMEOUT;
    let mut opened = None;
    let refusal = tokio::select! {
        authenticated = authenticate(incoming, shared, &mut opened) => match authenticated {
            Ok(authenticated) => return authenticated,
            Err(refusal) => refusal,
        },
        () = tokio::time::sleep_until(deadline) => Refusal::Stranger(CloseCode::AuthenticationTimeout),
        () = slot.evicted() => Refusal::Stranger(CloseCode::TooManyUnauthenticated),
        () = shared.hand_back.cancelled() => Refusal::Stranger(CloseCode::Draining),
    };
    match opened {
        Some(session) => {
            close_unauthenticated(&session, refusal, shared);
            // A leg may go on as what strangers see, within the same limits.
            tokio::select! {
                () = session.lingers() => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = slot.evicted() => {}
                () = shared.hand_back.cancelled() => {}
            }
            if shared.hand_back.is_cancelled() {
                wait_until_told(&session).await;
            }
        }
        // A connection that is dropped in its handshake is closed.
        None => tracing::debug!(reason = refusal.code().reason(), "closing in the handshake"),
    }
    None
}

/// Does the handshake and checks the Hello. Puts the connection into `opened` after the handshake, so that
/// the caller can close it. `None` if it begins no session.
async fn authenticate(
    incoming: Incoming,
    shared: &ListenerContext,
    opened: &mut Option<Session>,
) -> Result<Option<Authenticated>, Refusal> {
    let accepted = incoming.accept().await.map_err(|error| {
        tracing::debug!(error = %clean(error), "handshake failed");
        Refusal::Stranger(CloseCode::ProtocolViolation)
    })?;
    let Some(session) = accepted else { return Ok(None) };
    *opened = Some(session.clone());
    let other_version = session.wire_version().and_then(CloseCode::for_version);
    other_version.map_or(Ok(()), |code| Err(Refusal::Stranger(code)))?;
    let clients = shared.clients.subscribe();
    let (hello, control) = read_hello(&session, &shared.clients).await?;
    tracing::Span::current().record("client", hello.name.to_string());
    check_credentials(&shared.clients, &hello.name, &hello.secret).await.map_err(|code| match code {
        CloseCode::UnknownClient => Refusal::Stranger(code),
        code => Refusal::Client(code),
    })?;
    Ok(Some(Authenticated { session, hello, control, clients }))
}

async fn serve(authenticated: Authenticated, shared: Arc<ListenerContext>) {
    let Authenticated { session, hello, mut control, mut clients } = authenticated;
    session.raise_limits();
    let usage = shared.usage.client(&hello.name);
    usage.seen(jiff::Timestamp::now());
    tracing::info!("client connected");
    let settings = shared.settings.current();
    let choice = within_limit(hello.congestion, settings.fixed_rate_limit);
    if choice != hello.congestion {
        shared.counters.rate_capped();
    }
    let registration =
        shared.connections.register(&hello.name, &session, settings.client_max_rate, hello.max_rate);
    let session = session.with_rate_limit(registration.rate_limit.clone());
    let congestion = session.congestion().clone();
    session.choose_congestion(choice);
    let remote = || session.remote_address();
    let path_cache = Arc::clone(&shared.path_cache);
    let mut observer =
        PathObserver::start(congestion, path_cache, hello.name.clone(), remote(), Instant::now());
    let welcome = Welcome {
        version: env!("CARGO_PKG_VERSION").into(),
        registries: settings.upstream.names(),
        time: jiff::Timestamp::now().as_second().try_into().unwrap_or_default(),
    };
    notify(&mut control, &ControlMessage::Welcome(welcome)).await;

    let client = Arc::new(ConnectionContext {
        name: hello.name.clone(),
        segments: SegmentStreams::default(),
        queue: FairQueue::default(),
        budget: Arc::clone(&registration.budget),
        congestion: session.congestion().clone(),
        admission: Arc::clone(&registration.admission),
        shared: Arc::clone(&shared),
    });
    let mut usage_interval = tokio::time::interval(USAGE_INTERVAL);
    let mut usage_recorder = UsageRecorder::new(usage, &registration, &shared.counters);
    let mut loss_interval = tokio::time::interval(LOSS_INTERVAL);
    let mut loss_notices = LossNotices::default();
    let mut draining = false;
    loop {
        tokio::select! {
            // In this order: a client that is handed back needs no notice before.
            biased;
            () = shared.hand_back.cancelled() => {
                hand_back(&session).await;
                break;
            }
            Ok(()) = clients.changed() => {
                let result = clients.borrow_and_update().authenticate(&hello.name, &hello.secret);
                if let Err(code) = result {
                    close(&session, code);
                    break;
                }
            }
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                // The client may go on here until the server ends.
                notify(&mut control, &ControlMessage::Draining).await;
            }
            _ = usage_interval.tick() => {
                usage_recorder.update(&session);
                client.segments.drop_late(Instant::now());
                observer.update(remote(), Instant::now());
            }
            _ = loss_interval.tick() => {
                if let Some(notice) = loss_notices.next(&session.path(), base_loss(session.congestion())) {
                    notify(&mut control, &notice).await;
                }
            }
            stream = session.accept() => match stream {
                Ok((send, receive)) => handle_stream(&client, send, receive),
                Err(error) => {
                    tracing::info!(reason = %clean(error), "client disconnected");
                    break;
                }
            },
        }
    }
    usage_recorder.update(&session);
    observer.end(remote(), Instant::now());
}

/// Authenticates the sender of a Hello.
async fn check_credentials(
    clients: &ClientWatch,
    name: &ClientName,
    secret: &ClientSecret,
) -> Result<(), CloseCode> {
    let book = clients.subscribe();
    let result = || book.borrow().authenticate(name, secret);
    match result() {
        // The client may have been invited a moment ago, and after a refusal it waits for a minute.
        Err(CloseCode::UnknownClient) if clients.is_outdated() => {
            clients.next_poll().await;
            result()
        }
        other => other,
    }
}

/// Reads the Hello, which must be on the first stream.
async fn read_hello(session: &Session, clients: &ClientWatch) -> Result<(Hello, SendStream), Refusal> {
    let invalid = |error: &dyn Display| {
        tracing::debug!(error = %clean(error), "no Hello");
        Refusal::Stranger(CloseCode::ProtocolViolation)
    };
    let (send, mut receive) = session.accept().await.map_err(|error| invalid(&error))?;
    let mut preamble = [0; PREAMBLE_BYTES];
    receive.read_exact(&mut preamble).await.map_err(|error| invalid(&error))?;
    let version = parse_preamble(preamble).ok_or_else(|| invalid(&"no version"))?;
    if let Some(code) = CloseCode::for_version(version) {
        return Err(match receive.read_frame_beginning().await {
            Ok(HelloBeginning { name, secret }) => match check_credentials(clients, &name, &secret).await {
                Err(CloseCode::UnknownClient) => Refusal::Stranger(code),
                _ => Refusal::Client(code),
            },
            Err(_) => Refusal::Stranger(code),
        });
    }
    let hello = receive.read_frame().await.map_err(|error| invalid(&error))?;
    Ok((hello, send))
}

/// The state that all streams of a connection share.
struct ConnectionContext {
    name: ClientName,
    segments: SegmentStreams,
    queue: FairQueue,
    budget: Arc<BudgetShare>,
    congestion: Handle,
    admission: Arc<ClientAdmission>,
    shared: Arc<ListenerContext>,
}

/// Why there is no stream header.
#[derive(Debug, thiserror::Error)]
enum HeaderError {
    #[error("it did not arrive in time: {0}")]
    TimedOut(#[from] Elapsed),
    #[error(transparent)]
    Invalid(#[from] ReadError),
}

/// Handles a new stream. A segment's header arrives with its stream, so most segment streams cost no task.
fn handle_stream(client: &Arc<ConnectionContext>, send: SendStream, mut receive: ReceiveStream) {
    let stream = ResponseStream::new(send, client.shared.streams.add());
    let mut header = Box::pin(async move {
        let header = tokio::time::timeout(STREAM_HEADER_TIMEOUT, receive.read_frame()).await??;
        Ok((header, receive))
    });
    match (&mut header).now_or_never() {
        Some(header) => handle_header(client, header, stream),
        None => {
            let client = Arc::clone(client);
            let work = async move { handle_header(&client, header.await, stream) };
            tokio::spawn(work.in_current_span());
        }
    }
}

/// Handles a stream whose header was read.
fn handle_header(
    client: &Arc<ConnectionContext>,
    header: Result<(StreamHeader, ReceiveStream), HeaderError>,
    stream: ResponseStream,
) {
    // Dropping the stream resets it.
    match header {
        Ok((StreamHeader::Request(header), _)) => {
            let RequestHeader { exchange: id, request } = *header;
            let Some(segments) = client.segments.register(id) else {
                return tracing::debug!(%id, "this exchange is running already");
            };
            let client = Arc::clone(client);
            let work = async move { run_exchange(&client, id, request, stream, segments).await };
            tokio::spawn(work.in_current_span());
        }
        Ok((StreamHeader::Segment(segment), _)) => client.segments.add(segment, stream, Instant::now()),
        Ok((StreamHeader::Echo, receive)) => drop(tokio::spawn(async move {
            // A client that sends too slowly, or too much, is told by the reset of the stream.
            let _ = tokio::time::timeout(ECHO_TIMEOUT, echo(receive, stream)).await;
        })),
        Err(error) => tracing::debug!(error = %clean(error), "no valid stream header"),
    }
}

/// Sends as many bytes back as arrive. `None` if they are too many, or the stream was lost.
async fn echo(mut receive: ReceiveStream, mut stream: ResponseStream) -> Option<()> {
    const ZEROS: &[u8] = &[0; ECHO_BYTES_MAX];
    let mut length = 0;
    while let Some(chunk) = receive.read_chunk(ECHO_BYTES_MAX).await.ok()? {
        length += chunk.len();
        if length > ZEROS.len() {
            return None;
        }
    }
    stream.send(Bytes::from_static(&ZEROS[..length])).await.ok()?;
    stream.finish().ok()
}

async fn run_exchange(
    client: &ConnectionContext,
    id: ExchangeId,
    request: Request,
    stream: ResponseStream,
    segments: ExchangeSegments,
) {
    let request = request.without_foreign_credentials();
    let repository = request.operation.repository().filter(|_| client.shared.log.names_images());
    let span = tracing::info_span!(
        "exchange",
        %id,
        registry = %request.registry,
        operation = request.operation.name(),
        repository = repository.map(tracing::field::display),
        trace_id = request.trace.is_some().then(|| tracing::field::display(request.trace)),
    );
    spans::join(&span, request.trace);
    async {
        let ConnectionContext { name, admission, queue, budget, congestion, shared, .. } = client;
        let (sent, is_in_background) = (AtomicU64::new(0), request.is_in_background());
        let resources = Resources { admission, queue, budget, congestion, sent: &sent, is_in_background };
        let request = request.without_priority();
        let log = shared.log.exchange(name, &request, &sent);
        // Read once: an exchange keeps the settings that it started with.
        let settings = shared.settings.current();
        let (upstream, counters) = (&settings.upstream, &shared.counters);
        exchange::run(&request, log, stream, segments, resources, upstream, counters).await;
    }
    .instrument(span)
    .await;
}

async fn notify(control: &mut SendStream, notice: &ControlMessage) {
    if let Ok(frame) = frame::encode(notice) {
        // A closed connection is noticed elsewhere, and a client that does not read must not block this task.
        let _ = tokio::time::timeout(NOTICE_TIMEOUT, control.send(frame.into())).await;
    }
}

/// Closes a session whose client is to request again what has not arrived.
async fn hand_back(session: &Session) {
    close(session, CloseCode::HandedBack);
    wait_until_told(session).await;
}

/// Waits until the client has confirmed that its session was closed, before the process ends.
async fn wait_until_told(session: &Session) {
    let _ = tokio::time::timeout(CLOSE_CONFIRMATION_TIMEOUT, session.close_confirmed()).await;
}

fn close(session: &Session, code: CloseCode) {
    tracing::info!(reason = code.reason(), "closing the connection");
    session.close(code);
}

/// The same for an unauthenticated client. Its attempts must not fill the disk, so the log lines are limited.
fn close_unauthenticated(session: &Session, refusal: Refusal, shared: &ListenerContext) {
    let code = refusal.code();
    match code {
        // It has a link, most likely.
        CloseCode::ClientOutdated | CloseCode::ServerOutdated => shared.counters.version_refused(),
        _ => shared.counters.connection_refused(),
    }
    if let Some(suppressed) = shared.unauthenticated_log_limits.admit(code.reason()) {
        tracing::info!(reason = code.reason(), suppressed, "closing the connection");
    }
    let upgrade = upgrade_client(env!("CARGO_PKG_VERSION"));
    let text = if code == CloseCode::ClientOutdated { &upgrade } else { code.reason() };
    match refusal {
        Refusal::Client(code) => session.close_with(code, text),
        Refusal::Stranger(code) => session.refuse(code, text),
    }
}

/// Adds a connection's byte counts to its client's usage, and measures its line.
struct UsageRecorder<'a> {
    usage: Arc<ClientUsage>,
    registration: &'a Registration,
    counters: &'a Counters,
    last: (Path, Instant),
}

impl<'a> UsageRecorder<'a> {
    fn new(usage: Arc<ClientUsage>, registration: &'a Registration, counters: &'a Counters) -> Self {
        Self { usage, registration, counters, last: (Path::default(), Instant::now()) }
    }

    fn update(&mut self, session: &Session) {
        let (before, then) = std::mem::replace(&mut self.last, (session.path(), Instant::now()));
        let (path, now) = self.last;
        let (sent, received) =
            (path.bytes_sent - before.bytes_sent, path.bytes_received - before.bytes_received);
        self.usage.add_sent(sent);
        self.usage.add_received(received);
        self.usage.seen(jiff::Timestamp::now());
        self.counters.carried(session.leg(), sent, received);
        let elapsed = now.duration_since(then).max(USAGE_INTERVAL / 2);
        let rate = sent as f64 / elapsed.as_secs_f64();
        self.registration.set_rate(rate as u64);
        if sent >= BUSY_BYTES_MIN {
            let packets = path.packets_sent.saturating_sub(before.packets_sent);
            let lost = path.packets_lost.saturating_sub(before.packets_lost);
            let loss = (packets > 0).then(|| (lost as f64 / packets as f64).min(1.0));
            self.counters.line.observe(path.rtt, loss, rate);
        }
    }
}
