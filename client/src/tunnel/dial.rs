//! One attempt: an address, a fresh source port, the handshake, and the Hello behind it.
//!
//! Requests may follow the Hello at once; nobody waits for the Welcome.

use super::bulk::{Bulk, Load};
use super::socket;
use crate::settings::Congestion;
use docxy_protocol::congestion::Handle;
use docxy_protocol::control::{CloseCode, Hello, StreamHeader};
use docxy_protocol::frame::{self, FrameError};
use docxy_protocol::limits::{BLOBS_PER_CLIENT_MAX, SMALL_REQUESTS_PER_CLIENT_MAX};
use docxy_protocol::link::Link;
use docxy_protocol::request::Operation;
use docxy_protocol::tls::TlsError;
use docxy_protocol::{tls, transport};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long an attempt may take: a handshake needs one round trip, and packets that are lost are
/// sent again after 0.3, 0.9 and 2.1 s. An attempt that hangs is better replaced by one from
/// another source port than waited for.
const ATTEMPT: Duration = Duration::from_millis(2500);

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);

/// How long a goodbye may take to leave. A server that misses it notices by the silence.
const GOODBYE: Duration = Duration::from_secs(1);

/// Shown in the certificate check only, where the pin counts and not the name; never sent unless
/// the link says so.
const NO_NAME: &str = "docxy.invalid";

/// Why an attempt failed. Never quotes the link.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("no UDP socket: {0}")]
    Socket(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{address}: {source}")]
    Connect { address: SocketAddr, source: quinn::ConnectError },
    #[error("{address}: {source}")]
    Handshake { address: SocketAddr, source: quinn::ConnectionError },
    #[error("{address}: no answer within {} s; is the server running, and UDP open all the way?", ATTEMPT.as_secs_f32())]
    Silence { address: SocketAddr },
    #[error("{address}: {source}")]
    Hello { address: SocketAddr, source: FrameError },
}

/// A connection on which requests can be sent. Cheap to clone; the connection lives as long as
/// one clone, or a stream, does.
#[derive(Debug, Clone)]
pub struct Line {
    connection: Connection,
    congestion: Congestion,
    bulk: Arc<Bulk>,
    places: Places,
    endpoint: Endpoint,
}

impl Line {
    /// The connection, to open streams on.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How both ends were told to send.
    #[must_use]
    pub const fn congestion(&self) -> Congestion {
        self.congestion
    }

    /// Waits for a place among the requests that may be under way, and takes it.
    pub async fn place(&self, operation: &Operation) -> Option<OwnedSemaphorePermit> {
        // Never closed, so there always comes one.
        self.places.of(operation).acquire_owned().await.ok()
    }

    /// Takes a place if there is one.
    #[must_use]
    pub fn free_place(&self, operation: &Operation) -> Option<OwnedSemaphorePermit> {
        self.places.of(operation).try_acquire_owned().ok()
    }

    /// What its large bodies may ask for ahead.
    #[must_use]
    pub fn bulk(&self) -> &Arc<Bulk> {
        &self.bulk
    }

    /// Ends the connection with a goodbye, and gives that a moment to leave.
    pub(super) async fn hang_up(&self) {
        let code = CloseCode::Done;
        self.connection.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
        let _ = tokio::time::timeout(GOODBYE, self.endpoint.wait_idle()).await;
    }

    /// Whether both are the same connection.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.connection.stable_id() == other.connection.stable_id()
    }
}

/// Requests that may be under way. What waits here holds no stream: see
/// [`docxy_protocol::limits::STREAMS_PER_CLIENT_MAX`].
#[derive(Debug, Clone)]
struct Places {
    blobs: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

impl Places {
    fn of(&self, operation: &Operation) -> Arc<Semaphore> {
        Arc::clone(match operation {
            Operation::Blob { .. } => &self.blobs,
            _ => &self.small,
        })
    }
}

impl Default for Places {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { blobs: places(BLOBS_PER_CLIENT_MAX), small: places(SMALL_REQUESTS_PER_CLIENT_MAX) }
    }
}

/// What a successful attempt gives.
pub(super) struct Dialled {
    pub(super) line: Line,
    pub(super) control: RecvStream,
    pub(super) address: SocketAddr,
}

/// Dials a server. `attempt` counts up, and goes round its ports and addresses; `load` is what large
/// bodies hold already.
pub(super) async fn dial(
    link: &Link,
    congestion: Congestion,
    attempt: usize,
    load: &Arc<Load>,
) -> Result<Dialled, DialError> {
    let address = address(link, attempt).await?;
    let connecting = connect(link, congestion, address, load);
    tokio::time::timeout(ATTEMPT, connecting).await.map_err(|_| DialError::Silence { address })?
}

async fn connect(
    link: &Link,
    congestion: Congestion,
    address: SocketAddr,
    load: &Arc<Load>,
) -> Result<Dialled, DialError> {
    let crypto = tls::client_config(link.pin, link.sni.is_some())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport::client_config(&Handle::new(congestion.up))));
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = socket::open(address).map_err(DialError::Socket)?;
    let endpoint =
        Endpoint::new(EndpointConfig::default(), None, socket, runtime).map_err(DialError::Socket)?;
    let name = link.sni.as_ref().map_or(NO_NAME, |name| name.as_str());
    let connecting = endpoint
        .connect_with(config, address, name)
        .map_err(|source| DialError::Connect { address, source })?;
    let connection = connecting.await.map_err(|source| DialError::Handshake { address, source })?;

    let hello = StreamHeader::Hello(Hello {
        name: link.name.clone(),
        secret: link.secret.clone(),
        congestion: congestion.down,
    });
    let hello = frame::encode(&hello).map_err(|source| DialError::Hello { address, source })?;
    let lost = |source| DialError::Handshake { address, source };
    let (mut send, control) = connection.open_bi().await.map_err(lost)?;
    if send.write_all(&hello).await.is_err() {
        let source = connection.closed().await;
        return Err(lost(source));
    }
    Ok(Dialled {
        line: Line {
            connection,
            congestion,
            bulk: Arc::new(Bulk::new(Arc::clone(load))),
            places: Places::default(),
            endpoint,
        },
        control,
        address,
    })
}

async fn address(link: &Link, attempt: usize) -> Result<SocketAddr, DialError> {
    let host = link.host.as_str();
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, 0))).await;
    let found = found.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let found: Vec<SocketAddr> =
        found.map_err(|source| DialError::Resolve { host: host.to_owned(), source })?.collect();
    // All ports of one address before the next one.
    let candidates: Vec<SocketAddr> =
        found.iter().flat_map(|a| link.ports.iter().map(|port| SocketAddr::new(a.ip(), *port))).collect();
    let chosen = candidates.get(attempt % candidates.len().max(1));
    chosen.copied().ok_or_else(|| DialError::NoAddress { host: host.to_owned() })
}
