//! TLS 1.3 for the TCP leg: the same identity and the same pin as QUIC's, and the protocol names of a web server.
//!
//! Must never allow early data, which can be replayed and would contain the client's secret.

use super::certificates::Certificates;
use docxy_protocol::identity::PinnedServer;
use docxy_protocol::tls::provider;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, Error, ServerConfig};
use std::sync::Arc;

/// HTTP/2's protocol name (RFC 9113, section 3.1).
pub(super) const HTTP2: &[u8] = b"h2";

/// The client's configuration: accepts only the server with the verifier's pin, and sends a server name only if
/// `send_server_name` is set.
pub(super) fn client_config(
    verifier: Arc<PinnedServer>,
    send_server_name: bool,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.enable_sni = send_server_name;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The server's configuration. It takes clients that name no protocol, as web servers do.
pub(super) fn server_config(certificates: Certificates) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
