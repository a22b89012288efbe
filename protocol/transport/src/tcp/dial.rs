//! Dials a server over TCP: the first connection of a session, and those that join it.

use super::connection::{Connection, ControlStream, Driver, Http2, Metered, Probe, Role, Wire};
use super::session::{Connections, Shared, Side};
use super::signal::{self, Token};
use super::{padding, settings, socket, tls};
use crate::connector::{Connector, Purpose};
use bytes::Bytes;
use docxy_protocol::backoff::{Backoff, Schedule};
use docxy_protocol::congestion::Choice;
use docxy_protocol::identity::{Pin, PinError, PinnedServer};
use docxy_protocol::tls::provider;
use h2::client::SendRequest;
use http::StatusCode;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

/// The name for the certificate check, which compares the pin and not the name. It is not sent.
const PLACEHOLDER_NAME: &str = "docxy.invalid";

/// The time between two attempts to open a session's other connection. The first one carries all meanwhile.
const JOIN_SCHEDULE: Schedule = Schedule::exponential(Duration::from_secs(1), 2.0, Duration::from_secs(60));

/// After a connection that lasted so long, the next one is opened at once.
const STABLE_TIME: Duration = Duration::from_secs(5);

/// How long an attempt may take: three round trips, with a retransmission.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The server name is none.
    #[error("the server name is not valid")]
    ServerName,
    /// The TLS configuration is not possible.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no TCP connection.
    #[error("TCP: {0}")]
    Connect(#[source] io::Error),
    /// Another key than the pin's has answered.
    #[error(transparent)]
    OtherKey(PinError),
    /// The peer, or something on the way, has closed the connection.
    #[error(
        "the TCP connection was closed in the handshake; does docxy-server listen there, and is TCP filtered?"
    )]
    Closed,
    /// TLS or HTTP/2 failed.
    #[error("no handshake over TCP ({0}); does docxy-server listen there?")]
    Handshake(#[source] io::Error),
}

/// Opens connections to one server.
struct Dialer {
    address: SocketAddr,
    connector: Connector,
    tls: TlsConnector,
    verifier: Arc<PinnedServer>,
    server_name: ServerName<'static>,
    congestion: Choice,
}

/// Dials the server with this pin. Anybody on the path can read `server_name`; without it, none is sent.
/// `congestion` is how this side sends, as far as the kernel can. Unless it `joins`, the session stays at one connection.
///
/// # Errors
/// If a connection or a handshake fails. It may take as long as the kernel tries.
pub(crate) async fn dial(
    address: SocketAddr,
    pin: Pin,
    server_name: Option<&str>,
    congestion: Choice,
    connector: Connector,
    joins: bool,
) -> Result<Connections, DialError> {
    let with_name = |server_name| Dialer::new(address, pin, server_name, connector.clone(), congestion);
    let mut dialer = with_name(server_name)?;
    let connected = match dialer.connect(Purpose::Session).await {
        // The server's operator has a certificate for this name. Without a name, the identity answers.
        Err(DialError::OtherKey(_)) if server_name.is_some() => {
            dialer = with_name(None)?;
            dialer.connect(Purpose::Session).await
        }
        connected => connected,
    };
    let (http2, connection, open) = connected?;
    let (response, body) = send(&connection, signal::request()).await.map_err(handshake)?;
    let outcome = connection.outbox.add_control(Wire::Body(body));
    let (messages, control) = mpsc::unbounded_channel();
    let control = Mutex::new(Some((outcome, control)));
    let side = Side::Client { opened: AtomicU64::new(0), control, token: OnceLock::new() };
    let session = Shared::new(side, connection.clone(), address, congestion);
    let role = Role::ClientControl { stream: ControlStream::Awaited(response), messages };
    tokio::spawn(Driver::new(http2, role, Arc::clone(&session), connection, open));
    if joins {
        tokio::spawn(keep_joined(Arc::clone(&session), dialer));
    }
    Ok(Connections::new(session))
}

impl Dialer {
    fn new(
        address: SocketAddr,
        pin: Pin,
        server_name: Option<&str>,
        connector: Connector,
        congestion: Choice,
    ) -> Result<Self, DialError> {
        let verifier = Arc::new(PinnedServer::new(pin, provider()));
        let tls = tls::client_config(Arc::clone(&verifier), server_name.is_some())?;
        let tls = TlsConnector::from(Arc::new(tls));
        let server_name = server_name.unwrap_or(PLACEHOLDER_NAME).to_owned();
        let server_name = ServerName::try_from(server_name).map_err(|_| DialError::ServerName)?;
        Ok(Self { address, connector, tls, verifier, server_name, congestion })
    }

    async fn connect(&self, purpose: Purpose) -> Result<(Http2, Connection, mpsc::Receiver<()>), DialError> {
        let connected = self.connector.connect(self.address, purpose).await;
        let (stream, permit) = connected.map_err(DialError::Connect)?;
        socket::prepare(&stream, self.congestion);
        let (stream, meter) = Metered::new(stream, Some(permit));
        let begun = Instant::now();
        let stream = self.tls.connect(self.server_name.clone(), stream).await;
        let stream = stream
            .map_err(|error| self.verifier.rejection().map_or_else(|| of_io(error), DialError::OtherKey))?;
        let probe = Arc::new(Probe::starting_with(begun.elapsed()));
        let (requests, http2) = settings::client().handshake(stream.into()).await.map_err(handshake)?;
        let (connection, open) = Connection::new(meter, probe, Some(requests));
        Ok((Http2::Client(http2), connection, open))
    }

    /// Opens a connection that joins the session with this token.
    async fn join(&self, session: &Arc<Shared>, token: &Token) -> Result<Connection, DialError> {
        let purpose = if session.has_joined() { Purpose::Hedge } else { Purpose::Bulk };
        let (mut http2, connection, open) = self.connect(purpose).await?;
        let (response, mut body) = send(&connection, signal::join_request(token)).await.map_err(handshake)?;
        body.send_data(Bytes::new(), true).map_err(handshake)?;
        let response = match &mut http2 {
            Http2::Client(client) => tokio::select! {
                response = response => response,
                ended = client => ended.and(Err(h2::Reason::NO_ERROR.into())),
            },
            Http2::Server(_) => return Err(DialError::Handshake(io::ErrorKind::Unsupported.into())),
        };
        let response = response.map_err(handshake)?;
        if response.status() != StatusCode::OK {
            return Err(DialError::Handshake(io::Error::other("the server does not know the session")));
        }
        let role = Role::ClientBulk { _join: response.into_body() };
        session.join(connection.clone());
        tokio::spawn(Driver::new(http2, role, Arc::clone(session), connection.clone(), open));
        Ok(connection)
    }
}

pub(super) async fn send(
    connection: &Connection,
    request: http::Request<()>,
) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
    let requests: SendRequest<Bytes> = connection.requests.clone().ok_or(h2::Reason::INTERNAL_ERROR)?;
    requests.ready().await?.send_request(request, false)
}

fn handshake(error: h2::Error) -> DialError {
    if error.is_io() {
        return error.into_io().map_or(DialError::Closed, of_io);
    }
    DialError::Handshake(io::Error::other(error))
}

fn of_io(error: io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => DialError::Closed,
        _ => DialError::Handshake(error),
    }
}

/// Keeps another connection open from the Welcome to the end of the session.
async fn keep_joined(session: Arc<Shared>, dialer: Dialer) {
    tokio::select! {
        // In this order: the end of the session closes its joined connections, and they are not opened again.
        biased;
        _ = session.closed() => {}
        () = join_again_and_again(&session, &dialer) => {}
    }
}

async fn join_again_and_again(session: &Arc<Shared>, dialer: &Dialer) {
    session.until_authenticated().await;
    tokio::spawn(padding::receive(session.control.clone()));
    let Side::Client { token, .. } = session.side() else { return };
    let Some(token) = token.get() else { return };
    let (mut backoff, mut down_since) = (Backoff::new(JOIN_SCHEDULE), Instant::now());
    let mut collapsed: Option<Connection> = None;
    let mut has_padding = false;
    loop {
        let joining = tokio::time::timeout(JOIN_TIMEOUT, dialer.join(session, token)).await;
        match joining {
            Ok(Ok(connection)) => {
                let joined = Instant::now();
                if !std::mem::replace(&mut has_padding, true) {
                    tokio::spawn(padding::receive(connection.clone()));
                }
                tokio::select! {
                    () = connection.closed() => tracing::debug!("a joined connection was lost; opening another one"),
                    () = connection.load.collapsed() => {
                        tracing::debug!("the rate of a joined connection has collapsed; opening another one beside it");
                        if let Some(older) = collapsed.replace(connection) {
                            older.closed().await;
                        }
                    }
                }
                if joined.elapsed() >= STABLE_TIME {
                    (backoff, down_since) = (Backoff::new(JOIN_SCHEDULE), Instant::now());
                    continue;
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "no other connection"),
            Err(_) => tracing::debug!("no other connection in time"),
        }
        tokio::time::sleep(backoff.next_delay(down_since.elapsed(), random_fraction())).await;
    }
}

/// A number from 0 to 1.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers all clients wait equally long.
    let _ = SystemRandom::new().fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
