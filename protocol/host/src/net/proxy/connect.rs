//! A TCP connection to a destination through a proxy.
//!
//! Must never wait longer than its two limits, and must never hand out a connection of which the proxy has already sent
//! more than its answer.

use super::error::{ProxyError, ProxyFailure};
use super::url::{Credentials, Proxy, Scheme};
use crate::net::happy_eyeballs::{self, RaceError};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use docxy_protocol::link::Host;
use futures_util::future::{Either, select};
use http::{HeaderValue, Method, Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_socks::tcp::Socks5Stream;

/// Time to reach the proxy. It is near: on the same network, mostly.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for the proxy to reach the destination. Together with [`CONNECT_TIMEOUT`] less than the patience of an engine
/// for a token, so that the engine gets an error that names the proxy.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the proxy's response head, at most.
const RESPONSE_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where a connection through a proxy leads.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display)]
pub enum Destination {
    /// To an address.
    Address(SocketAddr),
    /// To a name and a port. The proxy resolves the name.
    #[display("{}:{_1}", _0.in_url())]
    Name(Host, u16),
}

impl Proxy {
    /// An address of the proxy itself.
    ///
    /// # Errors
    /// If its name cannot be resolved in time.
    pub async fn address(&self) -> Result<SocketAddr, ProxyError> {
        let resolving = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((self.host.as_str(), self.port)));
        let first = match resolving.await {
            Ok(Ok(mut addresses)) => addresses.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        first.map_err(|error| ProxyError { proxy: self.clone(), failure: ProxyFailure::Resolve(error) })
    }

    /// Connects to a destination.
    ///
    /// # Errors
    /// If the proxy cannot be reached, does not answer in time, or gives no connection.
    pub async fn connect(&self, destination: &Destination) -> Result<TcpStream, ProxyError> {
        let connected = async {
            let stream = self.reach().await?;
            let answer = async {
                match self.scheme {
                    Scheme::Http => self.http_connect(stream, destination).await,
                    Scheme::Socks5 => self.socks_connect(stream, destination).await,
                }
            };
            timeout(RESPONSE_TIMEOUT, answer)
                .await
                .unwrap_or(Err(ProxyFailure::ResponseTimeout(RESPONSE_TIMEOUT)))
        };
        connected.await.map_err(|failure| ProxyError { proxy: self.clone(), failure })
    }

    /// A connection to the proxy itself.
    async fn reach(&self) -> Result<TcpStream, ProxyFailure> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port));
        let racing = happy_eyeballs::race(addresses, None, TcpStream::connect);
        let stream = match timeout(CONNECT_TIMEOUT, racing).await {
            Ok(Ok((_, stream))) => stream,
            Ok(Err(RaceError { resolve: Some(error), .. })) => return Err(ProxyFailure::Resolve(error)),
            Ok(Err(RaceError { attempts, .. })) => {
                let error = attempts.into_iter().next().map(|(_, error)| error);
                let error = error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
                return Err(ProxyFailure::Connect(error));
            }
            Err(_) => return Err(ProxyFailure::ConnectTimeout(CONNECT_TIMEOUT)),
        };
        stream.set_nodelay(true).map_err(ProxyFailure::Connect)?;
        Ok(stream)
    }

    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    async fn http_connect(
        &self,
        stream: TcpStream,
        destination: &Destination,
    ) -> Result<TcpStream, ProxyFailure> {
        let other_protocol = |_| ProxyFailure::OtherProtocol(self.scheme.name());
        let authority = destination.to_string();
        let mut request = Request::builder().method(Method::CONNECT).uri(&authority);
        request = request.header(header::HOST, authority);
        if let Some(credentials) = &self.credentials {
            request = request.header(header::PROXY_AUTHORIZATION, basic(credentials));
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|_| ProxyFailure::CredentialsInvalid("they are no header field"))?;
        let handshake =
            http1::Builder::new().max_buf_size(RESPONSE_HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(other_protocol)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(of_hyper)?;
            if !response.status().is_success() {
                return Err(ProxyFailure::of_status(response.status(), self.credentials.is_some()));
            }
            hyper::upgrade::on(response).await.map_err(of_hyper)
        };
        // The connection ends when it hands over its socket, or fails; either ends the exchange.
        let upgraded = match select(pin!(exchange), pin!(connection.with_upgrades())).await {
            Either::Left((upgraded, _)) => upgraded?,
            Either::Right((_, exchange)) => exchange.await?,
        };
        let parts = upgraded.downcast::<TokioIo<TcpStream>>();
        let parts = parts.map_err(|_| ProxyFailure::OtherProtocol(self.scheme.name()))?;
        // TLS begins with the client.
        if parts.read_buf.is_empty() {
            Ok(parts.io.into_inner())
        } else {
            Err(ProxyFailure::OtherProtocol(self.scheme.name()))
        }
    }

    /// SOCKS5 CONNECT (RFC 1928, section 4).
    async fn socks_connect(
        &self,
        stream: TcpStream,
        destination: &Destination,
    ) -> Result<TcpStream, ProxyFailure> {
        let (host, port) = match destination {
            Destination::Address(address) => (address.ip().to_string(), address.port()),
            Destination::Name(host, port) => (host.to_string(), *port),
        };
        // An address in this text is sent as an address.
        let target = (host.as_str(), port);
        let connected = match &self.credentials {
            None => Socks5Stream::connect_with_socket(stream, target).await,
            Some(credentials) => {
                let (user, password) = (credentials.user.as_str(), credentials.password());
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
            }
        };
        let has_password =
            self.credentials.as_ref().is_none_or(|credentials| !credentials.password().is_empty());
        connected.map(Socks5Stream::into_inner).map_err(|error| ProxyFailure::of_socks(error, has_password))
    }
}

/// Basic credentials (RFC 7617).
fn basic(credentials: &Credentials) -> HeaderValue {
    let text = BASE64_STANDARD.encode(format!("{}:{}", credentials.user, credentials.password()));
    let mut value = HeaderValue::try_from(format!("Basic {text}")).expect("base64 is a header value");
    value.set_sensitive(true);
    value
}

fn of_hyper(error: hyper::Error) -> ProxyFailure {
    if error.is_parse() {
        return ProxyFailure::OtherProtocol(Scheme::Http.name());
    }
    let io = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    io.map_or(ProxyFailure::Closed, |io| ProxyFailure::of_io(io.kind().into()))
}
