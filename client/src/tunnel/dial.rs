//! One connection attempt: an address, a fresh source port, the handshake, and the Hello.
//!
//! Requests may follow the Hello at once, without the Welcome.

use super::config::Congestion;
use super::segment_budget::SharedUsage;
use super::session::Session;
use super::socket;
use docxy_protocol::congestion::Handle;
use docxy_protocol::control::{Hello, StreamHeader};
use docxy_protocol::frame::{self, FrameError};
use docxy_protocol::link::Link;
use docxy_protocol::tls::TlsError;
use docxy_protocol::{tls, transport};
use quinn::{ClientConfig, Endpoint, EndpointConfig, RecvStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long an attempt may take. A handshake needs one round trip, and lost packets are sent again after 0.3,
/// 0.9 and 2.1 s. After that, an attempt from another source port is better than more waiting.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long the resolution of a host name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The name for the certificate check, which compares the pin and not the name. It is sent only if the link
/// says so.
const PLACEHOLDER_NAME: &str = "docxy.invalid";

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
    #[error("{address}: no response within {} s; is the server running, and is UDP open on the whole path?", ATTEMPT_TIMEOUT.as_secs_f32())]
    LivenessMonitor { address: SocketAddr },
    #[error("{address}: {source}")]
    Hello { address: SocketAddr, source: FrameError },
}

/// The result of a successful attempt.
pub(super) struct Dialed {
    pub(super) session: Session,
    pub(super) control: RecvStream,
    pub(super) address: SocketAddr,
}

/// Dials a server. `attempt` selects its address and port. `usage` is what large bodies hold already.
pub(super) async fn dial(
    link: &Link,
    congestion: Congestion,
    attempt: usize,
    usage: &Arc<SharedUsage>,
) -> Result<Dialed, DialError> {
    let address = address(link, attempt).await?;
    let connecting = connect(link, congestion, address, usage);
    tokio::time::timeout(ATTEMPT_TIMEOUT, connecting)
        .await
        .map_err(|_| DialError::LivenessMonitor { address })?
}

async fn connect(
    link: &Link,
    congestion: Congestion,
    address: SocketAddr,
    usage: &Arc<SharedUsage>,
) -> Result<Dialed, DialError> {
    let crypto = tls::client_config(link.pin, link.sni.is_some())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport::client_config(&Handle::new(congestion.up))));
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = socket::open(address).map_err(DialError::Socket)?;
    let endpoint =
        Endpoint::new(EndpointConfig::default(), None, socket, runtime).map_err(DialError::Socket)?;
    let name = link.sni.as_ref().map_or(PLACEHOLDER_NAME, |name| name.as_str());
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
    Ok(Dialed {
        session: Session::new(connection, endpoint, congestion, Arc::clone(usage)),
        control,
        address,
    })
}

async fn address(link: &Link, attempt: usize) -> Result<SocketAddr, DialError> {
    let host = link.host.as_str();
    let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
    let found = found.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let found: Vec<SocketAddr> =
        found.map_err(|source| DialError::Resolve { host: host.to_owned(), source })?.collect();
    // All ports of one address before the next one.
    let candidates: Vec<SocketAddr> =
        found.iter().flat_map(|a| link.ports.iter().map(|port| SocketAddr::new(a.ip(), *port))).collect();
    let chosen = candidates.get(attempt % candidates.len().max(1));
    chosen.copied().ok_or_else(|| DialError::NoAddress { host: host.to_owned() })
}
