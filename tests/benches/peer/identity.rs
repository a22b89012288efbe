//! A key for one run of a raw sender, known to its reader by its pin, as the product's server is.
//! Must never be kept.

use anyhow::Result;
use docxy_protocol::identity::Pin;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Stands where a name has to stand; the pin alone counts.
pub(super) const NAME: &str = "bench.invalid";

/// A fresh key and its certificate.
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
        let pin = Pin::of_certificate(&certificate)?;
        Ok(Self {
            certificate,
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            pin,
        })
    }
}
