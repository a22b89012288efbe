//! One connection attempt: a leg, an address, a fresh source port, the handshake, and the Hello.
//!
//! Requests may follow the Hello at once, without the Welcome.

use super::config::{Congestion, Rates};
use super::server::Server;
use super::session::Session;
use docxy_protocol::control::Hello;
use docxy_protocol::link::Link;
use docxy_protocol::version::upgrade_server;
use docxy_transport::{Connector, Leg, Peer, RateLimit, ReceiveStream, SendError, SessionError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long an attempt may take. A handshake needs one round trip, and lost packets are sent again after 0.3,
/// 0.9 and 2.1 s. After that, an attempt from another source port is better than more waiting.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);

/// The same while the server restarts. A packet that arrives before the next process listens is lost, and the handshake
/// sends it again after 0.3, 0.9 and 2.1 s. With this timeout, there is one at least every 0.45 s, and the second of each
/// attempt still has 0.45 s for its round trip.
pub(super) const RESTART_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(750);

/// How long the resolution of a host name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an attempt failed. Never quotes the link.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{address}: {source}")]
    Connect { address: SocketAddr, source: docxy_transport::DialError },
    #[error("{address}: {}", upgrade_server(env!("CARGO_PKG_VERSION")))]
    ServerOutdated { address: SocketAddr },
    #[error("{address}: no response within {} s; is the server running, and is {} open on the whole path?", timeout.as_secs_f32(), protocol(*leg))]
    NoResponse { address: SocketAddr, leg: Leg, timeout: Duration },
    #[error("{address}: {source}")]
    Hello { address: SocketAddr, source: SendError },
}

impl DialError {
    /// Whether the server is there, and shuts down.
    pub(super) const fn is_shutdown(&self) -> bool {
        match self {
            Self::Connect { source, .. } => {
                matches!(source.session_error(), Some(SessionError::NotAccepting))
            }
            _ => false,
        }
    }
}

/// The protocol below a leg, which a firewall knows.
const fn protocol(leg: Leg) -> &'static str {
    match leg {
        Leg::Quic => "UDP",
        Leg::Tcp => "TCP",
    }
}

/// The result of a successful attempt.
pub(super) struct DialedSession {
    pub(super) session: Session,
    pub(super) control: ReceiveStream,
    pub(super) address: SocketAddr,
}

/// Dials a server over this leg. `attempt` selects its address and port. The handshake may take `timeout`.
pub(super) async fn dial(
    link: &Link,
    congestion: Congestion,
    max_rate: Rates,
    leg: Leg,
    attempt: usize,
    timeout: Duration,
    server: &Arc<Server>,
) -> Result<DialedSession, DialError> {
    let address = address(link, attempt).await?;
    let connecting = connect(link, congestion, max_rate, leg, address, server);
    let connected = tokio::time::timeout(timeout, connecting).await;
    connected.map_err(|_| DialError::NoResponse { address, leg, timeout })?
}

async fn connect(
    link: &Link,
    congestion: Congestion,
    max_rate: Rates,
    leg: Leg,
    address: SocketAddr,
    server: &Arc<Server>,
) -> Result<DialedSession, DialError> {
    let hello = Hello {
        name: link.name.clone(),
        secret: link.secret.clone(),
        congestion: congestion.down,
        max_rate: max_rate.down,
    };
    let peer = Peer {
        address,
        pin: link.pin,
        server_name: link.sni.as_ref().map(ToString::to_string),
        congestion: congestion.up,
        connector: Connector::direct(),
    };
    let transport =
        docxy_transport::dial(leg, &peer).await.map_err(|source| match source.session_error() {
            Some(SessionError::NoCommonVersion) => DialError::ServerOutdated { address },
            _ => DialError::Connect { address, source },
        })?;
    let limit = RateLimit::default();
    limit.set(max_rate.up);
    let transport = transport.with_rate_limit(limit);
    let control = transport.open_control(&hello).await;
    let control = control.map_err(|source| DialError::Hello { address, source })?;
    Ok(DialedSession { session: Session::new(transport, congestion, Arc::clone(server)), control, address })
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
