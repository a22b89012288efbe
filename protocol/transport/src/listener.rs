//! The server's end of all legs: one port, on UDP and TCP.

use crate::error::SessionError;
use crate::quic::{self, ListenerKeys};
use crate::session::Session;
use crate::tcp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;

/// Attempts to find a port that is free on UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not on UDP.
    #[error(transparent)]
    Quic(#[from] quic::ListenError),
    /// Not on TCP.
    #[error(transparent)]
    Tcp(#[from] tcp::ListenError),
    /// The identity cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl ListenError {
    /// The port that another process has, and the leg, if that is why.
    #[must_use]
    pub fn taken_port(&self) -> Option<(u16, crate::Leg)> {
        match self {
            Self::Quic(error) => Some((error.taken_port()?, crate::Leg::Quic)),
            Self::Tcp(error) => Some((error.taken_port()?, crate::Leg::Tcp)),
            Self::Tls(_) => None,
        }
    }
}

/// Listens on one address, over each leg. Clones share it.
#[derive(Debug, Clone)]
pub struct Listener {
    quic: quic::Listener,
    tcp: tcp::Listener,
}

/// A connection that a client begins.
#[derive(Debug)]
pub struct Incoming(Leg);

#[derive(Debug)]
enum Leg {
    Quic(Box<quic::Incoming>),
    Tcp(tcp::Incoming),
}

impl Listener {
    /// Listens on this address, on UDP with the identity's certificate and on TCP with these certificates. If it is `[::]` and IPv6 is off, listens on `0.0.0.0`.
    ///
    /// # Errors
    /// If the address is in use or not this machine's, or the key does not belong to the certificate.
    pub fn bind(
        address: SocketAddr,
        certificate: &CertificateDer<'static>,
        key: &PrivateKeyDer<'static>,
        keys: &ListenerKeys,
        certificates: &tcp::Certificates,
    ) -> Result<Self, ListenError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let quic = quic::Listener::bind(address, certificate.clone(), key.clone_key(), keys)?;
            match tcp::Listener::bind(quic.local_address()?, certificates.clone()) {
                Ok(tcp) => return Ok(Self { quic, tcp }),
                // The system picked a port that is free on UDP.
                Err(error)
                    if address.port() == 0 && error.taken_port().is_some() && attempts < PORT_ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The address. Port 0 is replaced by the real one.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_address(&self) -> Result<SocketAddr, ListenError> {
        Ok(self.quic.local_address()?)
    }

    /// The next connection that a client begins; `None` after the end of the runtime. Cancel safe.
    pub async fn accept(&self) -> Option<Incoming> {
        tokio::select! {
            incoming = self.quic.accept() => Some(Incoming(Leg::Quic(Box::new(incoming?)))),
            incoming = self.tcp.accept() => Some(Incoming(Leg::Tcp(incoming))),
        }
    }
}

impl Incoming {
    /// The address that the connection seems to come from.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        match &self.0 {
            Leg::Quic(incoming) => incoming.remote_address(),
            Leg::Tcp(incoming) => incoming.remote_address(),
        }
    }

    /// Whether a Retry is pointless: the client has proved that this is its address, or had one.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        match &self.0 {
            Leg::Quic(incoming) => incoming.is_validated(),
            // TCP's handshake proves it.
            Leg::Tcp(_) => true,
        }
    }

    /// Does the handshake. Dropping the future closes the connection. `None` if the connection begins no session: it
    /// has joined one, or was a stranger's to its end.
    ///
    /// # Errors
    /// If the handshake fails.
    pub async fn accept(self) -> Result<Option<Session>, SessionError> {
        match self.0 {
            Leg::Quic(incoming) => Ok(Some(incoming.accept().await?.into())),
            Leg::Tcp(incoming) => Ok(incoming.accept().await?.map(Session::from)),
        }
    }

    /// Sends a Retry, so that the client proves its address (RFC 9000, section 8.1.2). Drops a connection whose
    /// address is validated.
    pub fn retry(self) {
        if let Leg::Quic(incoming) = self.0 {
            incoming.retry();
        }
    }

    /// Refuses the connection.
    pub fn refuse(self) {
        match self.0 {
            Leg::Quic(incoming) => incoming.refuse(),
            Leg::Tcp(_) => {}
        }
    }
}
