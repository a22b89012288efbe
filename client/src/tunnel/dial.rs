//! One connection attempt: the server's addresses in a race, each from a fresh source port, the handshake, and the Hello.
//!
//! Requests may follow the Hello at once, without the Welcome.

use super::address::{self, AddressBook};
use super::config::Congestion;
use super::segment_budget::SharedUsage;
use super::session::Session;
use docxy_host::happy_eyeballs::RaceError;
use docxy_protocol::control::Hello;
use docxy_protocol::link::{Host, Link};
use docxy_protocol::version::upgrade_server;
use docxy_transport::{ReceiveStream, SendError, SessionError, quic};
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

/// Why an attempt failed. Never quotes the link.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{address}: {source}")]
    Connect { address: SocketAddr, source: quic::DialError },
    #[error("{address}: {}", upgrade_server(env!("CARGO_PKG_VERSION")))]
    ServerOutdated { address: SocketAddr },
    #[error("{address}: no response within {} s; is the server running, and is UDP open on the whole path?", timeout.as_secs_f32())]
    NoResponse { address: SocketAddr, timeout: Duration },
    #[error("{address}: {source}")]
    Hello { address: SocketAddr, source: SendError },
    #[error("{}", in_one_line(_0))]
    AllAddresses(Vec<DialError>),
}

impl DialError {
    /// Whether the server is there, and shuts down.
    pub(super) fn is_shutdown(&self) -> bool {
        match self {
            Self::Connect { source: quic::DialError::Handshake(SessionError::NotAccepting), .. } => true,
            Self::AllAddresses(errors) => errors.iter().any(Self::is_shutdown),
            _ => false,
        }
    }

    fn of_race(host: &Host, race: RaceError<Self>) -> Self {
        let RaceError { resolve, attempts } = race;
        let host = || host.to_string();
        let mut errors: Vec<Self> = attempts.into_iter().map(|(_, error)| error).collect();
        if let Some(source) = resolve {
            errors.insert(0, Self::Resolve { host: host(), source });
        }
        match errors.len() {
            0 => Self::NoAddress { host: host() },
            1 => errors.remove(0),
            _ => Self::AllAddresses(errors),
        }
    }
}

fn in_one_line(errors: &[DialError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The result of a successful attempt.
pub(super) struct DialedSession {
    pub(super) session: Session,
    pub(super) control: ReceiveStream,
    pub(super) address: SocketAddr,
}

/// Dials a server at all its addresses. `attempt` selects its port. The handshake at one address may take `timeout`.
/// `usage` is what large bodies hold already.
pub(super) async fn dial(
    link: &Link,
    congestion: Congestion,
    attempt: usize,
    timeout: Duration,
    usage: &Arc<SharedUsage>,
    book: &AddressBook,
) -> Result<DialedSession, DialError> {
    let port = link.ports[attempt % link.ports.len()];
    let connect = async |address| {
        let connected = tokio::time::timeout(timeout, connect(link, congestion, address, usage)).await;
        connected.map_err(|_| DialError::NoResponse { address, timeout })?
    };
    let connected = address::connect(&link.host, port, book, connect).await;
    connected.map_err(|error| DialError::of_race(&link.host, error))
}

async fn connect(
    link: &Link,
    congestion: Congestion,
    address: SocketAddr,
    usage: &Arc<SharedUsage>,
) -> Result<DialedSession, DialError> {
    let hello = Hello { name: link.name.clone(), secret: link.secret.clone(), congestion: congestion.down };
    let name = link.sni.as_ref().map(|name| name.as_str());
    let dialed = quic::dial(address, link.pin, name, congestion.up).await;
    let connection = dialed.map_err(|error| match error {
        quic::DialError::Handshake(SessionError::NoCommonVersion) => DialError::ServerOutdated { address },
        source => DialError::Connect { address, source },
    })?;
    let transport = docxy_transport::Session::from(connection);
    let control = transport.open_control(&hello).await;
    let control = control.map_err(|source| DialError::Hello { address, source })?;
    Ok(DialedSession { session: Session::new(transport, congestion, Arc::clone(usage)), control, address })
}
