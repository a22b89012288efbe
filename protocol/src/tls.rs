//! TLS 1.3 as the tunnel uses it, for both ends.
//!
//! No early data and no resumption: early data could be replayed and would carry the secret, and
//! a resumed session saves nothing here (the handshake is one round trip either way).

use crate::identity::{Pin, PinnedServer};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use std::sync::Arc;

/// The protocol and its version. It is readable on the path, as a server name would be.
pub const ALPN: &[u8] = b"docxy/1";

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key or certificate doesn't fit.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The provider lacks the cipher that QUIC's first packets need.
    #[error("TLS for QUIC: {0}")]
    Suite(#[from] quinn_proto::crypto::rustls::NoInitialCipherSuite),
}

/// The provider that everything here uses, named so that a second one in the dependency tree
/// cannot make the choice ambiguous.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The client's side: accepts the server with this pin only, and says a server name only if told.
///
/// # Errors
/// Where the crypto provider cannot do QUIC, which would be a bug.
pub fn client_config(pin: Pin, send_server_name: bool) -> Result<QuicClientConfig, TlsError> {
    let provider = provider();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer::new(pin, provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = send_server_name;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(QuicClientConfig::try_from(config)?)
}

/// The server's side.
///
/// # Errors
/// Where the key doesn't fit the certificate.
pub fn server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<QuicServerConfig, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(QuicServerConfig::try_from(config)?)
}
