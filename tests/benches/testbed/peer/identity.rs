//! The key of a raw sender for one run. Its reader knows it by its pin, as a client knows the product's server.
//! Must never be stored.

use anyhow::Result;
use docxy_protocol::identity::Pin;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server name is required, but only the pin counts.
pub(super) const NAME: &str = "bench.invalid";

/// A new key and its certificate.
pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) pin: Pin,
}

impl Identity {
    pub(super) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
        let certificate = certificate.der().clone();
        let pin = Pin::from_certificate(&certificate)?;
        Ok(Self {
            certificate,
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            pin,
        })
    }
}
