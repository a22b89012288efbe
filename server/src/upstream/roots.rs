//! Whom the server trusts to sign for registries.

use rustls::RootCertStore;

/// The system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), or Mozilla's as built in
/// where the system has none, as in a container made from nothing.
pub(super) fn system() -> RootCertStore {
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
