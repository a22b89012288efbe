//! TLS 1.3 for QUIC.
//!
//! Must never allow early data, which can be replayed and would contain the client's secret. There is no
//! session resumption either: it saves nothing, since the handshake takes one round trip in any case.

use docxy_protocol::identity::{Pin, PinnedServer};
use docxy_protocol::tls::provider;
use docxy_protocol::version::alpn;
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use std::sync::Arc;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key and certificate do not belong together.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The provider lacks the cipher suite of QUIC's Initial packets.
    #[error("TLS for QUIC: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// The client's configuration: accepts only the server with this pin, speaks this version of the wire, and
/// sends a server name only if `send_server_name` is set.
///
/// # Errors
/// If the crypto provider does not support QUIC, which would be a bug.
pub fn client_config(pin: Pin, version: u16, send_server_name: bool) -> Result<QuicClientConfig, TlsError> {
    let verifier = PinnedServer::new(pin, provider());
    client_config_with(Arc::new(verifier), version, send_server_name)
}

/// The same with a verifier that tells its caller why it rejects a server.
pub(super) fn client_config_with(
    verifier: Arc<PinnedServer>,
    version: u16,
    send_server_name: bool,
) -> Result<QuicClientConfig, TlsError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn(version)];
    config.enable_sni = send_server_name;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(QuicClientConfig::try_from(config)?)
}

/// The server's configuration. It speaks the first of these versions of the wire that a client speaks too.
///
/// # Errors
/// If the key does not belong to the certificate.
pub fn server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    versions: impl IntoIterator<Item = u16>,
) -> Result<QuicServerConfig, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = versions.into_iter().map(alpn).collect();
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(QuicServerConfig::try_from(config)?)
}
