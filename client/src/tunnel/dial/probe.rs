//! One attempt at a server over one leg, for `doctor`: how far it comes, and what the session is worth.
//!
//! Must never add more than one TCP connection to those of a running client, or store what it learns.

use crate::status::counters::TunnelCounters;
use crate::tunnel::address::{self, AddressBook};
use crate::tunnel::config::{JoinedLink, TunnelConfig};
use crate::tunnel::dial::permits::ConnectionPermits;
use crate::tunnel::dial::{ATTEMPT_TIMEOUT, DialError, DialOptions, DialedSession, dial};
use crate::tunnel::leg::{DialOrder, Way};
use crate::tunnel::server::Server;
use crate::tunnel::session::Session;
use crate::tunnel::supervisor::{race, read_welcome};
use bytes::Bytes;
use docxy_host::net::happy_eyeballs::ATTEMPT_DELAY;
use docxy_protocol::control::{CloseCode, StreamHeader};
use docxy_protocol::limits::ECHO_BYTES_MAX;
use docxy_protocol::link::Link;
use docxy_transport::{Leg, RateLimit, ReceiveStream, SessionError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Attempts over one leg, each from another port: on a lossy line, one may fail by chance.
const ATTEMPTS: usize = 2;

/// How long each direction of an echo may take: 64 KiB at 50 kbit/s, which is no line for images.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, and how to dial it.
pub(crate) struct ServerProbe {
    link: Link,
    options: DialOptions,
    server: Arc<Server>,
}

/// A session that the server has accepted.
pub(crate) struct ProbedSession {
    pub(crate) session: Session,
    pub(crate) address: SocketAddr,
    /// From the start of the attempt to the Welcome.
    pub(crate) took: Duration,
    /// The session ends with it.
    _control: ReceiveStream,
}

/// How far an attempt came that led to no session. The texts are for the user.
#[derive(Debug)]
pub(crate) enum ProbeError {
    /// There was no attempt.
    NotTried(&'static str),
    /// The server was not reached.
    Unreachable(String),
    /// Another key has answered than that of the link's pin.
    OtherKey(String),
    /// The handshake is done, and the server, if it says so for this reason, accepts no Hello.
    NotAccepted(Option<CloseCode>, String),
}

/// The direction in which an echo got lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EchoError {
    /// Towards the server.
    Up,
    /// Towards this client.
    Down,
}

impl ServerProbe {
    pub(crate) fn new(config: &TunnelConfig, joined: &JoinedLink) -> Self {
        let up = RateLimit::default();
        up.set(config.max_rate.up);
        let options = DialOptions {
            congestion: config.congestion,
            max_down: config.max_rate.down,
            up,
            proxy: config.proxy.clone(),
            book: AddressBook::open(config.cache.as_deref()).unstored(),
            permits: ConnectionPermits::new(config.runtime.as_deref(), &joined.link),
            joins: false,
        };
        let server = Server::new(0, joined.link.address(), joined.trust, Arc::default());
        Self { link: joined.link.clone(), options, server }
    }

    /// The addresses of the server's name.
    ///
    /// # Errors
    /// If it has none, or the resolver does not say.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<IpAddr>> {
        let mut all: Vec<_> = address::resolve(&self.link.host, self.link.ports[0])
            .await?
            .map(|address| address.ip())
            .collect();
        all.dedup();
        if all.is_empty() { Err(io::Error::other("it has no address")) } else { Ok(all) }
    }

    /// Where the server was reached the last time. It is tried too.
    pub(crate) fn last_good(&self) -> Option<IpAddr> {
        self.options.book.last_good(&self.link.host)
    }

    /// Opens a session over this leg.
    ///
    /// # Errors
    /// How far the attempts came.
    pub(crate) async fn dial(&self, leg: Leg) -> Result<ProbedSession, ProbeError> {
        let has_proxy = self.options.proxy_beside(&self.link).is_some();
        let ways = Way::ALL.into_iter().filter(|way| way.leg() == leg && (has_proxy || *way != Way::Proxy));
        let order = DialOrder { ways: ways.collect(), head_start: ATTEMPT_DELAY };
        let mut attempt = 0;
        loop {
            let begun = Instant::now();
            let dialing = race(order.clone(), |way| {
                dial(&self.link, &self.options, way, attempt, ATTEMPT_TIMEOUT, &self.server)
            });
            let probed = match dialing.await {
                Ok((dialed, _)) => greet(dialed, begun).await,
                Err(error) => Err(error.into()),
            };
            attempt += 1;
            match probed {
                Err(ProbeError::Unreachable(_)) if attempt < ATTEMPTS => {}
                probed => return probed,
            }
        }
    }
}

async fn greet(dialed: DialedSession, begun: Instant) -> Result<ProbedSession, ProbeError> {
    let DialedSession { session, mut control, address, .. } = dialed;
    match read_welcome(&mut control, &session, address, &TunnelCounters::default()).await {
        Ok(()) => Ok(ProbedSession { session, address, took: begun.elapsed(), _control: control }),
        Err(ended) => {
            let code = session.transport().close_reason().as_ref().and_then(SessionError::close_code);
            let reason = ended.into_reason().to_string();
            session.close().await;
            Err(ProbeError::NotAccepted(code, reason))
        }
    }
}

impl ProbedSession {
    /// Sends 64 KiB, and receives as many. Returns how long each direction took.
    ///
    /// # Errors
    /// The direction in which they got lost.
    pub(crate) async fn echo(&self) -> Result<[Duration; 2], EchoError> {
        let up = timeout(ECHO_TIMEOUT, async {
            let (mut send, receive) = self.session.transport().open(&StreamHeader::Echo).await.ok()?;
            send.send(Bytes::from_static(&[0; ECHO_BYTES_MAX])).await.ok()?;
            send.finish().ok()?;
            Some(receive)
        });
        let begun = Instant::now();
        let mut receive = up.await.ok().flatten().ok_or(EchoError::Up)?;
        let mut bytes = vec![0; ECHO_BYTES_MAX];
        // The first byte comes when all have arrived there.
        let first = timeout(ECHO_TIMEOUT, receive.read_exact(&mut bytes[..1])).await;
        first.ok().and_then(Result::ok).ok_or(EchoError::Up)?;
        let up = begun.elapsed();
        let rest = timeout(ECHO_TIMEOUT, receive.read_exact(&mut bytes[1..])).await;
        rest.ok().and_then(Result::ok).ok_or(EchoError::Down)?;
        Ok([up, begun.elapsed() - up])
    }

    /// Closes the session, and its connection.
    pub(crate) async fn close(self) {
        self.session.close().await;
    }
}

impl From<DialError> for ProbeError {
    fn from(error: DialError) -> Self {
        let mut all = Vec::new();
        error.collect(&mut all);
        let is_other_key =
            |error: &&&DialError| matches!(error, DialError::Connect { source, .. } if source.is_other_key());
        if let Some(other) = all.iter().find(is_other_key) {
            return Self::OtherKey(other.to_string());
        }
        if let Some(outdated) = all.iter().find(|error| matches!(error, DialError::ServerOutdated { .. })) {
            return Self::NotAccepted(Some(CloseCode::ServerOutdated), outdated.to_string());
        }
        if all.iter().any(|error| matches!(error, DialError::NoPermit { .. })) {
            return Self::NotTried(
                "other docxy-client processes of this user have all TCP connections to it",
            );
        }
        if error.is_shutdown() {
            return Self::NotAccepted(Some(CloseCode::Draining), error.to_string());
        }
        Self::Unreachable(error.to_string())
    }
}
