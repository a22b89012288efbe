//! A TCP connection, with TLS or without.
//! Must never buffer: the path below is measured.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A byte stream.
pub(super) trait AsyncStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> AsyncStream for T {}

/// Connects to `address`; with TLS if there is a configuration and a server name.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, &str)>,
) -> Result<Box<dyn AsyncStream>> {
    let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some((config, name)) => {
            let name = ServerName::try_from(name.to_owned())?;
            let connected = TlsConnector::from(config).connect(name, stream).await;
            Ok(Box::new(connected.with_context(|| format!("TLS with {address}"))?))
        }
    }
}
