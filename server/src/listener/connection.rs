//! One client's connection: its Hello, then its streams, each in a task of its own.
//!
//! No stream is begun before the Hello has been accepted, and what a client does on one stream
//! costs its other streams, and other clients, nothing.

use super::congestion::{self, Observer};
use super::paths::Paths;
use super::roster::Roster;
use crate::exchange::{self, Offered, Outgoing, Ranks};
use crate::places::ClientPlaces;
use crate::state::{ClientUsage, ClientWatch, Usage};
use crate::upstream::Upstream;
use docxy_protocol::congestion::{Choice, Handle, Rate};
use docxy_protocol::control::{CloseCode, Hello, Notice, Opening};
use docxy_protocol::limits::{HEAD_TIMEOUT, HELLO_TIMEOUT, REQUESTS_WINDOW};
use docxy_protocol::text::clean;
use docxy_protocol::{frame, transport};
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream, ServerConfig, VarInt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clients: ClientWatch,
    pub(super) usage: Usage,
    pub(super) roster: Arc<Roster>,
    /// Counts the streams of all connections.
    pub(super) streams: TaskTracker,
    pub(super) upstream: Upstream,
    pub(super) paths: Arc<Paths>,
    pub(super) fixed_rate_limit: Rate,
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
pub(super) async fn run(incoming: Incoming, shared: Arc<Shared>) {
    let span = tracing::info_span!("connection", remote = %incoming.remote_address(), client = tracing::field::Empty);
    async {
        // The Hello will say how to send; until then, and for most, what the path is measured to do.
        let handle = Handle::new(Choice::Auto);
        match shake_hands(incoming, &shared.quic, &handle).await {
            Ok(connection) => serve(connection, handle, shared).await,
            Err(error) => tracing::debug!(error = %clean(error), "no handshake"),
        }
    }
    .instrument(span)
    .await;
}

/// quinn takes a congestion control at this moment and no other.
async fn shake_hands(
    incoming: Incoming,
    quic: &ServerConfig,
    congestion: &Handle,
) -> Result<Connection, ConnectionError> {
    let mut config = quic.clone();
    config.transport_config(Arc::new(transport::server(congestion)));
    incoming.accept_with(Arc::new(config))?.await
}

async fn serve(connection: Connection, handle: Handle, shared: Arc<Shared>) {
    let hello = tokio::time::timeout(HELLO_TIMEOUT, read_hello(&connection)).await;
    let (hello, mut control) = match hello {
        Ok(Ok(hello)) => hello,
        Ok(Err(code)) => return close(&connection, code),
        Err(_) => return close(&connection, CloseCode::HelloTimeout),
    };
    tracing::Span::current().record("client", hello.name.to_string());
    let mut clients = shared.clients.subscribe();
    if let Err(code) = admit(&shared.clients, &hello).await {
        return close(&connection, code);
    }
    connection.set_receive_window(VarInt::from_u32(REQUESTS_WINDOW));
    let usage = shared.usage.client(&hello.name);
    usage.seen(jiff::Timestamp::now());
    tracing::info!("connected");
    handle.choose(congestion::granted(hello.congestion, shared.fixed_rate_limit));
    let remote = || connection.remote_address();
    let paths = Arc::clone(&shared.paths);
    let mut observer = Observer::begin(handle, paths, hello.name.clone(), remote(), Instant::now());
    let entry = shared.roster.enter(&hello.name, &connection);
    notify(&mut control, &Notice::Welcome { version: env!("CARGO_PKG_VERSION").into() }).await;

    let streams = TaskTracker::new();
    let client = Arc::new(Client {
        offered: Offered::default(),
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
                notify(&mut control, &Notice::Draining).await;
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
    let (send, mut receive) = connection.accept_bi().await.map_err(|_| CloseCode::Violation)?;
    match frame::read(&mut receive).await {
        Ok(Opening::Hello(hello)) => Ok((hello, send)),
        Ok(_) | Err(_) => Err(CloseCode::Violation),
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
    offered: Offered,
    ranks: Ranks,
    places: Arc<ClientPlaces>,
    shared: Arc<Shared>,
}

/// Begins the work on a stream. Must be called in the order in which streams are accepted: see
/// [`exchange::Offered`].
fn accept(client: &Arc<Client>, streams: &TaskTracker, send: SendStream, mut receive: RecvStream) {
    let id = u64::from(receive.id());
    let offers = client.offered.expect(id);
    let answer = Outgoing::new(send, client.shared.streams.token());
    let client = Arc::clone(client);
    let work = async move {
        let opening = tokio::time::timeout(HEAD_TIMEOUT, frame::read(&mut receive)).await;
        match opening {
            Ok(Ok(Opening::Request(request))) => {
                let request = request.confined();
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
                    exchange::run(request, answer, offers, places, ranks, &shared.upstream).await;
                }
                .instrument(span)
                .await;
            }
            Ok(Ok(Opening::Segment(segment))) => {
                drop(offers);
                client.offered.offer(segment, answer);
            }
            // A second Hello, garbage, or nothing in time: the stream is reset by dropping it.
            Ok(Ok(Opening::Hello(_))) => tracing::debug!(id, "a second hello"),
            Ok(Err(error)) => tracing::debug!(id, error = %clean(error), "a stream without a head"),
            Err(_) => tracing::debug!(id, "a stream that said nothing"),
        }
    };
    streams.spawn(work.in_current_span());
}

async fn notify(control: &mut SendStream, notice: &Notice) {
    if let Ok(frame) = frame::encode(notice) {
        // A client that is gone is noticed by the accepting, and one that doesn't read must not
        // keep us from it.
        let _ = tokio::time::timeout(NOTICE, control.write_all(&frame)).await;
    }
}

fn close(connection: &Connection, code: CloseCode) {
    tracing::info!(reason = code.reason(), "closing");
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
