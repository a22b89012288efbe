//! The server's identity: a key, recognised by its pin, without names and certificate authorities.
//!
//! The verifier must check the handshake's signature and the pin: without the signature, a peer that has
//! only a copy of the certificate would be accepted.

use crate::secret::constant_time_eq;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// SHA-256 of the server's SubjectPublicKeyInfo (RFC 5280, section 4.1), base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, derive_more::Debug, derive_more::Display)]
#[debug("{self}")]
#[display("{}", BASE64_URL_SAFE_NO_PAD.encode(_0))]
pub struct Pin([u8; 32]);

/// Why a pin or a certificate was rejected.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Not 32 bytes of base64url.
    #[error("a pin is 43 characters of base64url")]
    Malformed,
    /// The certificate cannot be read.
    #[error("the server's certificate cannot be read: {0}")]
    Certificate(String),
    /// Another server, or a server that lost its state.
    #[error(
        "the server's key has the pin {0}, which is not the link's: another server, or an attacker; if it was set up \
         anew, join a new link, which `docxy-server invite NAME` prints there"
    )]
    Mismatch(Pin),
}

/// rustls formats a verifier's error with `Debug`, and the user sees that text.
impl fmt::Debug for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Pin {
    /// The pin of the key in a DER-encoded certificate.
    ///
    /// # Errors
    /// If the certificate cannot be parsed.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, PinError> {
        let parsed =
            webpki::EndEntityCert::try_from(certificate).map_err(|e| PinError::Certificate(e.to_string()))?;
        Ok(Self(Sha256::digest(&*parsed.subject_public_key_info()).into()))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| PinError::Malformed)?;
        bytes.try_into().map(Self).map_err(|_| PinError::Malformed)
    }
}

/// Accepts only the server whose key has the pin.
#[derive(Debug)]
pub struct PinnedServer {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    rejection: OnceLock<PinError>,
}

impl PinnedServer {
    /// A verifier for one pin.
    #[must_use]
    pub const fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider, rejection: OnceLock::new() }
    }

    /// Why it has rejected a server first. Errors of TLS over QUIC are only a text.
    pub fn rejection(&self) -> Option<PinError> {
        self.rejection.get().cloned()
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let rejected = |error: PinError| {
            let _ = self.rejection.set(error.clone());
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        };
        let pin = Pin::from_certificate(end_entity).map_err(rejected)?;
        if constant_time_eq(&pin.0, &self.pin.0) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rejected(PinError::Mismatch(pin)))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // QUIC has no TLS 1.2, so rustls never calls this.
        Err(rustls::Error::General("the tunnel does not support TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
