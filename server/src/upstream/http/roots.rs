//! The root certificates that the server trusts for registries.

use rustls::RootCertStore;

/// The system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are respected). If the system has none, as in
/// an empty container, Mozilla's roots, which are built in.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system root certificate cannot be read");
    }
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::info!("the system has no root certificates; using those built in");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
