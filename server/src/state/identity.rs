//! The server's identity: a private key, which the first start creates.
//!
//! Links contain the key's pin, so the key must never change. The certificate is made again at each start,
//! because clients check only its key.

use super::directory::State;
use super::error::StateError;
use docxy_host::private_file;
use docxy_protocol::identity::Pin;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt::Display;

/// The server's key, with its certificate and pin.
#[derive(Debug)]
pub struct Identity {
    /// A self-signed certificate of the key.
    pub certificate: CertificateDer<'static>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// The pin of the key, for links.
    pub pin: Pin,
}

impl State {
    /// Whether the server has an identity already.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.path("identity.pem").exists()
    }

    /// The server's identity, created once.
    ///
    /// # Errors
    /// If the key cannot be created, stored or read.
    pub fn identity(&self) -> Result<Identity, StateError> {
        let path = self.path("identity.pem");
        let damaged = |detail: &dyn Display| {
            let remedy = "restore it from a backup; without it every link ever given out is void, and \
                          only then delete it, so that a new key is made";
            StateError::damaged(&path, detail, remedy)
        };
        let pem = private_file::read_or_create(&path, new_key)?;
        let pem = String::from_utf8(pem).map_err(|_| damaged(&"not text"))?;
        let key = KeyPair::from_pem(&pem).map_err(|e| damaged(&e))?;
        let certificate = certificate(&key).map_err(|e| damaged(&e))?;
        let pin = Pin::from_certificate(&certificate).map_err(|e| damaged(&e))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(Identity { certificate, key, pin })
    }
}

fn new_key() -> Result<Vec<u8>, StateError> {
    let key =
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| StateError::Random(e.to_string()))?;
    Ok(key.serialize_pem().into_bytes())
}

/// A certificate like those that many programs make for themselves, so that a port scan learns nothing.
fn certificate(key: &KeyPair) -> Result<CertificateDer<'static>, rcgen::Error> {
    let year = Timestamp::now().to_zoned(TimeZone::UTC).year().into();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year + 10, 1, 1);
    Ok(params.self_signed(key)?.der().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_stays_and_tls_takes_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let (first, second) = (state.identity().unwrap(), state.identity().unwrap());
        assert_eq!(first.pin, second.pin);
        docxy_transport::quic::tls::server_config(second.certificate, second.key, [1]).unwrap();
        let text = std::fs::read_to_string(state.path("identity.pem")).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
