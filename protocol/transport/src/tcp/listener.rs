//! The server's end of the TCP leg: takes connections, and finds out whose they are.
//!
//! A connection is a stranger's until its first stream may be a client's Hello, or it joins a session. Must never
//! show a stranger anything but a web server.

use super::certificates::Certificates;
use super::connection::{Connection, Driver, Http2, Meter, Metered, Probe, Role};
use super::not_found::{self, Answers};
use super::session::{Connections, Sessions, Shared, Side};
use super::signal::{self, Token};
use super::socket::{self, SocketError};
use super::{settings, tls};
use crate::error::SessionError;
use bytes::Bytes;
use docxy_protocol::congestion::Choice;
use docxy_protocol::limits::UNAUTHENTICATED_STREAMS_MAX;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use parking_lot::Mutex;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// How long the listener waits after the system had no descriptor for a connection.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A listening socket. Clones share it.
#[derive(derive_more::Debug, Clone)]
pub(crate) struct Listener {
    socket: Arc<TcpListener>,
    #[debug(skip)]
    tls: TlsAcceptor,
    sessions: Sessions,
}

/// A connection that was taken.
#[derive(derive_more::Debug)]
pub(crate) struct Incoming {
    stream: TcpStream,
    remote: SocketAddr,
    #[debug(skip)]
    tls: TlsAcceptor,
    sessions: Sessions,
}

type H2 = h2::server::Connection<tokio_rustls::TlsStream<Metered>, Bytes>;

impl Listener {
    /// Listens on this address.
    pub(crate) fn bind(address: SocketAddr, certificates: Certificates) -> Result<Self, ListenError> {
        let tls = TlsAcceptor::from(Arc::new(tls::server_config(certificates)?));
        Ok(Self { socket: Arc::new(socket::bind(address)?), tls, sessions: Sessions::default() })
    }

    /// The next connection. Cancel safe.
    pub(crate) async fn accept(&self) -> Incoming {
        loop {
            match self.socket.accept().await {
                Ok((stream, remote)) => {
                    let (tls, sessions) = (self.tls.clone(), self.sessions.clone());
                    return Incoming { stream, remote, tls, sessions };
                }
                Err(error) => {
                    tracing::debug!(%error, "a TCP connection cannot be taken");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

/// Why the server cannot listen on TCP.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The identity cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Incoming {
    pub(crate) const fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    /// Waits for the session that the connection begins. `None` if it has joined one, or was a stranger's to its
    /// end. Dropping the future closes the connection.
    pub(crate) async fn accept(self) -> Result<Option<Connections>, SessionError> {
        let Self { mut stream, remote, tls, sessions } = self;
        socket::prepare(&stream, Choice::Auto);
        if not_found::answer_plain_http(&mut stream).await {
            return Ok(None);
        }
        let (stream, meter) = Metered::new(stream, None);
        let stream = tls.accept(stream).await.map_err(failed)?;
        if stream.get_ref().1.alpn_protocol() != Some(tls::HTTP2) {
            not_found::serve_http1(stream).await;
            return Ok(None);
        }
        let mut h2: H2 = settings::server().handshake(stream.into()).await.map_err(failed)?;
        let answers = Answers::default();
        while answers.open() < UNAUTHENTICATED_STREAMS_MAX as usize
            && let Some(accepted) = h2.accept().await
        {
            let (request, respond) = accepted.map_err(failed)?;
            if !signal::is_stream(&request) {
                answers.answer(request, respond);
                continue;
            }
            let Some(token) = Token::in_head(request.headers()) else {
                return Ok(begin(h2, meter, remote, &sessions, request, respond));
            };
            match sessions.find(&token) {
                Some(session) => {
                    join(h2, meter, session, respond);
                    return Ok(None);
                }
                None => answers.answer(request, respond),
            }
        }
        Ok(None)
    }
}

fn failed(error: impl Error + Send + Sync + 'static) -> SessionError {
    SessionError::Failed(Arc::new(error))
}

/// Begins a session with its first stream.
fn begin(
    h2: H2,
    meter: Arc<Meter>,
    remote: SocketAddr,
    sessions: &Sessions,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Option<Connections> {
    let (connection, open) = Connection::new(meter, Arc::new(Probe::default()), None);
    let (sender, incoming) = mpsc::unbounded_channel();
    let incoming = tokio::sync::Mutex::new(incoming);
    let (membership, unread) = (sessions.membership()?, Mutex::default());
    let side = Side::Server { incoming, sender: sender.clone(), membership, unread };
    let session = Shared::new(side, connection.clone(), remote, Choice::Auto);
    sessions.add(&session);
    let role = Role::ServerControl { incoming: sender };
    let mut driver = Driver::new(Http2::Server(h2), role, Arc::clone(&session), connection, open);
    driver.take(request, respond);
    tokio::spawn(driver);
    Some(Connections::new(session))
}

/// Adds a connection to a session.
fn join(h2: H2, meter: Arc<Meter>, session: Arc<Shared>, mut respond: SendResponse<Bytes>) {
    let Side::Server { sender, .. } = session.side() else { return };
    // An error means that the connection has ended.
    let Ok(join) = respond.send_response(signal::response(None), false) else { return };
    meter.choose(session.congestion.choice());
    let (connection, open) = Connection::new(meter, Arc::new(Probe::default()), None);
    let role = Role::ServerBulk { incoming: sender.clone(), _join: join };
    session.join(connection.clone());
    tokio::spawn(Driver::new(Http2::Server(h2), role, session, connection, open));
}

impl ListenError {
    /// The port, if another process has it.
    pub(crate) fn taken_port(&self) -> Option<u16> {
        if let Self::Socket(error) = self { error.taken_port() } else { None }
    }
}
