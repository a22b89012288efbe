//! The cryptography below TLS, which all connections share: those to registries too.

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The crypto provider of both sides. It is named explicitly, so that a second one in the dependency tree
/// cannot make the choice ambiguous.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
