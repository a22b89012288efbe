//! Dials a server over QUIC, from a fresh source port.

use super::connection::Connection;
use super::settings;
use super::socket;
use super::tls::{self, TlsError};
use crate::error::SessionError;
use docxy_protocol::congestion::{Choice, Handle};
use docxy_protocol::identity::{Pin, PinError, PinnedServer};
use docxy_protocol::tls::provider;
use docxy_protocol::version::WIRE_VERSION;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime};
use std::net::SocketAddr;
use std::sync::Arc;

/// The name for the certificate check, which compares the pin and not the name. It is not sent.
const PLACEHOLDER_NAME: &str = "docxy.invalid";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No socket could be opened.
    #[error("no UDP socket: {0}")]
    Socket(#[source] std::io::Error),
    /// The TLS configuration is not possible.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address or the name is not valid.
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    /// Another key than the pin's has answered.
    #[error(transparent)]
    OtherKey(PinError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] SessionError),
}

/// Dials the server with this pin. `congestion` is how this side sends. Anybody on the path can read
/// `server_name`; without it, none is sent.
///
/// # Errors
/// If the handshake fails. It may take as long as the idle timeout.
pub async fn dial(
    address: SocketAddr,
    pin: Pin,
    server_name: Option<&str>,
    congestion: Choice,
) -> Result<Connection, DialError> {
    let congestion = Handle::new(congestion);
    let verifier = Arc::new(PinnedServer::new(pin, provider()));
    let mut config = ClientConfig::new(Arc::new(tls::client_config_with(
        Arc::clone(&verifier),
        WIRE_VERSION,
        server_name.is_some(),
    )?));
    config.transport_config(Arc::new(settings::client_config(&congestion)));
    let socket = socket::open(address).map_err(DialError::Socket)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        .map_err(DialError::Socket)?;
    let connecting = endpoint.connect_with(config, address, server_name.unwrap_or(PLACEHOLDER_NAME))?;
    let connection = connecting.await.map_err(|error| match verifier.rejection() {
        Some(rejection) => DialError::OtherKey(rejection),
        None => SessionError::from(error).into(),
    })?;
    Ok(Connection::new(connection, congestion, Some(endpoint)))
}
