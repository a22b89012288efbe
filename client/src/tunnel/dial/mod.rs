//! One connection attempt: a leg, the server's addresses in a race, each from a fresh source port, or a proxy; the
//! handshake, and the Hello.
//!
//! Requests may follow the Hello at once, without the Welcome.

pub(super) mod contact;
pub(super) mod permits;
pub(super) mod probe;

use super::address::{self, AddressBook};
use super::config::{Congestion, ProxyChoice};
use super::leg::Way;
use super::server::Server;
use super::session::Session;
use super::status::Refuser;
use docxy_host::net::happy_eyeballs::RaceError;
use docxy_host::net::proxy::{Destination, Proxy, ProxyError};
use docxy_protocol::congestion::Rate;
use docxy_protocol::control::Hello;
use docxy_protocol::limits::TCP_CONNECTIONS_PER_SERVER_MAX;
use docxy_protocol::link::{Host, Link};
use docxy_protocol::version::upgrade_server;
use docxy_transport::{
    Connector, Leg, Peer, Permit, Purpose, RateLimit, ReceiveStream, SendError, SessionError,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use permits::ConnectionPermits;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an attempt may take. A handshake needs one round trip, and lost packets are sent again after 0.3,
/// 0.9 and 2.1 s. After that, an attempt from another source port is better than more waiting.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);

/// The same while the server restarts. A packet that arrives before the next process listens is lost, and the handshake
/// sends it again after 0.3, 0.9 and 2.1 s. With this timeout, there is one at least every 0.45 s, and the second of each
/// attempt still has 0.45 s for its round trip.
pub(super) const RESTART_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(750);

/// The same through a proxy: more than the proxy's own limits, whose errors say what hangs.
const PROXY_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The share of an attempt's time after which the next port of the link is dialed beside: the answer of a port that
/// works is there by then, after a round trip of up to a second.
const PORT_DELAY_SHARE: f32 = 0.4;

/// Why an attempt failed. Never quotes the link.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
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
    #[error(
        "{server}: other docxy-client processes of this user have all {TCP_CONNECTIONS_PER_SERVER_MAX} TCP connections to it; waiting until one ends"
    )]
    NoPermit { server: String },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("the server does not answer through the proxy {proxy} within {} s; is it running, and does it listen on TCP there?", PROXY_ATTEMPT_TIMEOUT.as_secs())]
    NoResponseByProxy { proxy: String },
    /// Of all addresses, or of all ways.
    #[error("{}", in_one_line(_0))]
    All(Vec<DialError>),
}

impl DialError {
    /// Whether the server is there, and shuts down.
    pub(super) fn is_shutdown(&self) -> bool {
        match self {
            Self::Connect { source, .. } => {
                matches!(source.session_error(), Some(SessionError::NotAccepting))
            }
            Self::All(errors) => errors.iter().any(Self::is_shutdown),
            _ => false,
        }
    }

    /// Who refuses, if only a person can change that: another key answers, or another version, or a proxy refuses. Where
    /// something at another host does not answer, that may be the server.
    pub(super) fn refuser(&self) -> Option<Refuser> {
        let mut all = Vec::new();
        self.collect(&mut all);
        let wrong: Vec<_> = all.iter().filter_map(|error| error.wrong_server()).collect();
        let may_be_server = |error: &&Self| matches!(error, Self::NoResponse { address, .. } if !wrong.contains(&address.ip()));
        let is_refusal = |error: &&Self| error.of_proxy().is_some_and(|error| error.failure.is_permanent());
        if wrong.is_empty() {
            all.iter().all(is_refusal).then_some(Refuser::Proxy)
        } else {
            (!all.iter().any(may_be_server)).then_some(Refuser::Server)
        }
    }

    pub(super) fn collect<'a>(&'a self, all: &mut Vec<&'a Self>) {
        match self {
            Self::All(errors) => errors.iter().for_each(|error| error.collect(all)),
            error => all.push(error),
        }
    }

    /// What the proxy says, if it is that. A connection by a proxy fails as one to the server does.
    pub(super) fn of_proxy(&self) -> Option<&ProxyError> {
        match self {
            Self::Proxy(error) => Some(error),
            Self::Connect { source, .. } => {
                source.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
            }
            _ => None,
        }
    }

    /// The address at which no server that this client can use has answered.
    fn wrong_server(&self) -> Option<IpAddr> {
        match self {
            Self::Connect { address, source } if source.is_other_key() => Some(address.ip()),
            Self::ServerOutdated { address } => Some(address.ip()),
            _ => None,
        }
    }

    fn of_race(host: &Host, race: RaceError<Self>) -> Self {
        let RaceError { resolve, attempts } = race;
        let host = || host.to_string();
        let resolve = resolve.map(|source| Self::Resolve { host: host(), source });
        let attempts = attempts.into_iter().map(|(_, error)| error);
        let mut errors: Vec<Self> = resolve.into_iter().chain(attempts).collect();
        match errors.len() {
            0 => Self::NoAddress { host: host() },
            1 => errors.remove(0),
            _ => Self::All(errors),
        }
    }
}

/// The protocol below a leg, which a firewall knows.
pub(super) const fn protocol(leg: Leg) -> &'static str {
    match leg {
        Leg::Quic => "UDP",
        Leg::Tcp => "TCP",
    }
}

fn in_one_line(errors: &[DialError]) -> String {
    let mut texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    // Both legs may meet the same.
    texts.dedup();
    texts.join("; ")
}

/// The result of a successful attempt.
pub(super) struct DialedSession {
    pub(super) session: Session,
    pub(super) control: ReceiveStream,
    pub(super) address: SocketAddr,
    pub(super) way: Way,
}

/// How to reach a server, and how to send to it.
#[derive(Debug, Clone)]
pub(super) struct DialOptions {
    pub(super) congestion: Congestion,
    pub(super) max_down: Option<Rate>,
    /// What all sessions together may send, at most.
    pub(super) up: RateLimit,
    pub(super) proxy: Option<ProxyChoice>,
    pub(super) book: AddressBook,
    pub(super) permits: ConnectionPermits,
    /// Whether a session over TCP opens its other connection.
    pub(super) joins: bool,
}

impl DialOptions {
    /// The proxy that the environment names for this server.
    pub(super) fn proxy_beside(&self, link: &Link) -> Option<&Proxy> {
        match &self.proxy {
            Some(ProxyChoice::Beside(rules)) => rules.proxy_to(link.host.as_str(), link.ports[0]),
            _ => None,
        }
    }
}

/// Dials a server on this way: at all its addresses and ports, or through the proxy. `attempt` selects the first port.
/// The handshake at one address may take `timeout`.
pub(super) async fn dial(
    link: &Link,
    options: &DialOptions,
    way: Way,
    attempt: usize,
    timeout: Duration,
    server: &Arc<Server>,
) -> Result<DialedSession, DialError> {
    let leg = way.leg();
    let permit = if leg == Leg::Tcp { Some(permit(options, server)?) } else { None };
    let at_address = &|address| {
        let connector = within_permits(Connector::direct(), options, permit.clone());
        let connecting = connect(link, options, way, peer(link, options, address, connector), server);
        async move {
            let connected = tokio::time::timeout(timeout, connecting).await;
            connected.map_err(|_| DialError::NoResponse { address, leg, timeout })?
        }
    };
    let at_port = |port| async move {
        let connected = address::connect(&link.host, port, &options.book, at_address).await;
        connected.map_err(|error| DialError::of_race(&link.host, error))
    };
    let mut ports = link.ports.clone();
    ports.rotate_left(attempt % link.ports.len());
    let port = ports[0];
    let directly = first_port(ports, timeout.mul_f32(PORT_DELAY_SHARE), at_port);
    let proxy = match &options.proxy {
        Some(ProxyChoice::Only(rules)) => rules.proxy_to(link.host.as_str(), port),
        Some(ProxyChoice::Beside(rules)) if way == Way::Proxy => rules.proxy_to(link.host.as_str(), port),
        _ => None,
    };
    match proxy {
        Some(proxy) => dial_by_proxy(link, options, port, (way, proxy), permit.clone(), server).await,
        None => directly.await,
    }
}

/// A permit for a session's first TCP connection. The attempts at several addresses share it.
fn permit(options: &DialOptions, server: &Server) -> Result<Permit, DialError> {
    let permit = options.permits.acquire(Purpose::Session);
    server.lacks_permit.store(permit.is_none(), Ordering::Relaxed);
    permit.ok_or_else(|| DialError::NoPermit { server: server.name.clone() })
}

/// The connector of a session whose first connection has this permit.
fn within_permits(connector: Connector, options: &DialOptions, first: Option<Permit>) -> Connector {
    let permits = options.permits.clone();
    connector.with_permits(move |purpose| match purpose {
        Purpose::Session => first.clone(),
        Purpose::Bulk | Purpose::Hedge => permits.acquire(purpose),
    })
}

/// The session of the port that is up first. Each port is dialed a step after the one before it: filters block single
/// ports of a server.
async fn first_port<F: Future<Output = Result<DialedSession, DialError>>>(
    ports: Vec<u16>,
    step: Duration,
    dial: impl Fn(u16) -> F,
) -> Result<DialedSession, DialError> {
    let attempt = |(n, port)| {
        let dialing = dial(port);
        async move {
            tokio::time::sleep(step * n).await;
            dialing.await
        }
    };
    let mut attempts: FuturesUnordered<_> = (0..).zip(ports).map(attempt).collect();
    let mut errors = Vec::new();
    while let Some(dialed) = attempts.next().await {
        match dialed {
            Ok(dialed) => return Ok(dialed),
            Err(error) => errors.push(error),
        }
    }
    Err(if errors.len() == 1 { errors.remove(0) } else { DialError::All(errors) })
}

/// Dials a server through a proxy, which resolves the server's name.
async fn dial_by_proxy(
    link: &Link,
    options: &DialOptions,
    port: u16,
    (way, proxy): (Way, &Proxy),
    permit: Option<Permit>,
    server: &Arc<Server>,
) -> Result<DialedSession, DialError> {
    let dialing = async {
        let address = proxy.address().await?;
        let (connecting, destination) = (proxy.clone(), Destination::Name(link.host.clone(), port));
        let connector = Connector::new(move |_| {
            let (proxy, destination) = (connecting.clone(), destination.clone());
            async move { proxy.connect(&destination).await.map_err(io::Error::other) }
        });
        let peer = peer(link, options, address, within_permits(connector, options, permit));
        let mut dialed = connect(link, options, way, peer, server).await?;
        dialed.session = dialed.session.through(proxy);
        Ok(dialed)
    };
    let dialed = tokio::time::timeout(PROXY_ATTEMPT_TIMEOUT, dialing).await;
    dialed.map_err(|_| DialError::NoResponseByProxy { proxy: proxy.to_string() })?
}

fn peer(link: &Link, options: &DialOptions, address: SocketAddr, connector: Connector) -> Peer {
    Peer {
        address,
        pin: link.pin,
        server_name: link.sni.as_ref().map(ToString::to_string),
        congestion: options.congestion.up,
        connector,
        joins: options.joins,
    }
}

async fn connect(
    link: &Link,
    options: &DialOptions,
    way: Way,
    peer: Peer,
    server: &Arc<Server>,
) -> Result<DialedSession, DialError> {
    let (address, congestion) = (peer.address, options.congestion);
    let hello = Hello {
        name: link.name.clone(),
        secret: link.secret.clone(),
        congestion: congestion.down,
        max_rate: options.max_down,
    };
    let transport =
        docxy_transport::dial(way.leg(), &peer).await.map_err(|source| match source.session_error() {
            Some(SessionError::NoCommonVersion) => DialError::ServerOutdated { address },
            _ => DialError::Connect { address, source },
        })?;
    let transport = transport.with_rate_limit(options.up.clone());
    let control = transport.open_control(&hello).await;
    let control = control.map_err(|source| DialError::Hello { address, source })?;
    let session = Session::new(transport, congestion, Arc::clone(server));
    Ok(DialedSession { session, control, address, way })
}
