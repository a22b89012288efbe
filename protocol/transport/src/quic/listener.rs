//! The server's end of the QUIC leg: one endpoint, which yields the connections that clients begin.

use super::connection::Connection;
use super::settings;
use super::socket::{self, SocketError};
use super::tls::{self, TlsError};
use crate::error::SessionError;
use docxy_protocol::congestion::{Choice, Handle};
use docxy_protocol::version::answered_versions;
use quinn::crypto::{HandshakeTokenKey, HmacKey};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use ring::{hkdf, hmac};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The runtime failed.
    #[error("QUIC endpoint: {0}")]
    Endpoint(#[source] std::io::Error),
}

impl ListenError {
    /// The port, if another process has it.
    pub(crate) fn taken_port(&self) -> Option<u16> {
        if let Self::Socket(error) = self { error.taken_port() } else { None }
    }
}

/// QUIC's own keys, which outlive the process. Those of two servers must differ, except for the key of the tokens.
#[derive(Clone, PartialEq, Eq, derive_more::Debug)]
#[debug("[secret]")]
pub struct ListenerKeys {
    /// Signs stateless resets. A server with the same key could be made to reset another one's connections (RFC 9000,
    /// section 21.11).
    reset: [u8; 64],
    /// Seals retry and address tokens. With the same key, a client that has proved its address to one replica has done
    /// so to all.
    token: [u8; 64],
    /// Marks connection IDs as this server's: packets for those of another one are ignored.
    connection_id: u64,
}

impl ListenerKeys {
    /// Bytes of the keys that no other server may have.
    pub const OWN_LENGTH: usize = 64 + 8;

    /// Bytes of the key that the replicas of a server may share.
    pub const TOKEN_LENGTH: usize = 64;

    /// The keys that are these random bytes.
    #[must_use]
    pub fn new(own: &[u8; Self::OWN_LENGTH], token: &[u8; Self::TOKEN_LENGTH]) -> Self {
        let (reset, connection_id) = own.split_at(64);
        let reset = reset.try_into().expect("64 bytes of 72");
        let connection_id = u64::from_be_bytes(connection_id.try_into().expect("8 bytes of 72"));
        Self { reset, token: *token, connection_id }
    }

    fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset))
    }

    fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.token))
    }
}

/// A listening endpoint. Clones share it.
#[derive(Debug, Clone)]
pub struct Listener {
    endpoint: Endpoint,
    config: ServerConfig,
}

impl Listener {
    /// Listens on this address. If it is `[::]` and IPv6 is off, listens on `0.0.0.0`.
    ///
    /// # Errors
    /// If the address is in use or not this machine's, or the key does not belong to the certificate.
    pub fn bind(
        address: SocketAddr,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        keys: &ListenerKeys,
    ) -> Result<Self, ListenError> {
        // The caller tells older clients to upgrade: see [`Session::wire_version`](crate::Session::wire_version).
        let tls = tls::server_config(certificate, key, answered_versions())?;
        let config = ServerConfig::new(Arc::new(tls), keys.token_key());
        let mut endpoint = EndpointConfig::new(keys.reset_key());
        let connection_ids = keys.connection_id;
        // The keys are the last run's, so that packets of its connections get a stateless reset that their
        // clients accept. They redial at once instead of waiting for the idle timeout.
        endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_ids)));
        // With quinn's default of 20 ms between resets, 500 clients of a restarted server would wait for 10 s.
        // With any interval, quinn sends one reset for each batch of packets that it reads together, and the
        // other clients wait for their next probe. Resets cannot be abused: each is shorter than the packet
        // that causes it, and only sent for a connection ID that was made with our key.
        endpoint.min_reset_interval(Duration::ZERO);
        let socket = socket::bind(address)?;
        let endpoint = Endpoint::new(endpoint, Some(config.clone()), socket, Arc::new(TokioRuntime))
            .map_err(ListenError::Endpoint)?;
        Ok(Self { endpoint, config })
    }

    /// The address. Port 0 is replaced by the real one.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_address(&self) -> Result<SocketAddr, ListenError> {
        self.endpoint.local_addr().map_err(ListenError::Endpoint)
    }

    /// The next connection that a client begins; `None` after the end of the runtime.
    pub async fn accept(&self) -> Option<Incoming> {
        let incoming = self.endpoint.accept().await?;
        Some(Incoming { incoming, config: self.config.clone() })
    }
}

/// A connection's first packet. Anybody can send one with any source address.
#[derive(Debug)]
pub struct Incoming {
    incoming: quinn::Incoming,
    config: ServerConfig,
}

impl Incoming {
    /// The address that the packet seems to come from.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Whether a Retry is pointless: the client has proved that this is its address, or had one.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.incoming.remote_address_validated() || !self.incoming.may_retry()
    }

    /// Does the handshake. Dropping the future closes the connection.
    ///
    /// # Errors
    /// If the handshake fails.
    pub async fn accept(mut self) -> Result<Connection, SessionError> {
        // The client's Hello names the congestion control. Until then it is `auto`. Only here can quinn be
        // given a controller.
        let congestion = Handle::new(Choice::Auto);
        self.config.transport_config(Arc::new(settings::server_config(&congestion)));
        let connection = self.incoming.accept_with(Arc::new(self.config))?.await?;
        Ok(Connection::new(connection, congestion, None))
    }

    /// Sends a Retry, so that the client proves its address (RFC 9000, section 8.1.2). Does nothing for a
    /// validated address.
    pub fn retry(self) {
        // An error means that the address is already validated.
        let _ = self.incoming.retry();
    }

    /// Refuses the connection.
    pub fn refuse(self) {
        self.incoming.refuse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_the_same_keys() {
        let sign = |keys: &ListenerKeys| {
            let mut signature = vec![0; keys.reset_key().signature_len()];
            keys.reset_key().sign(b"connection id", &mut signature);
            signature
        };
        let keys = |own, token| {
            ListenerKeys::new(&[own; ListenerKeys::OWN_LENGTH], &[token; ListenerKeys::TOKEN_LENGTH])
        };
        assert_eq!(sign(&keys(1, 1)), sign(&keys(1, 2)));
        assert_ne!(sign(&keys(1, 1)), sign(&keys(2, 1)));
    }
}
