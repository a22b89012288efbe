//! Which certificate a TLS handshake over TCP gets: the identity's, or the operator's own for its names.
//!
//! Must never show the operator's certificate to a handshake without one of its names: a client without a server name
//! expects the identity, whose pin is in its link.

use docxy_protocol::tls::provider;
use parking_lot::RwLock;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// The certificates of a server's TCP leg. Clones share them.
#[derive(Debug, Clone)]
pub struct Certificates {
    identity: Arc<CertifiedKey>,
    operators: Arc<RwLock<Option<NamedCertificate>>>,
}

/// An operator's own certificate, with its chain and key.
#[derive(Debug, Clone)]
pub struct NamedCertificate(Arc<CertifiedKey>);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is no certificate, or the key is none or another's.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// It cannot be parsed.
    #[error("the certificate cannot be read: {0}")]
    Malformed(#[source] webpki::Error),
    /// No handshake can ask for it.
    #[error("the certificate has no DNS name (a subjectAltName), so no client can ask for it")]
    NoNames,
}

impl NamedCertificate {
    /// The certificate at the beginning of this chain, with its key.
    ///
    /// # Errors
    /// If they do not belong together, or the certificate has no DNS name.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let named = Self(Arc::new(CertifiedKey::from_der(chain, key, &provider())?));
        let has_names = named.leaf().map_err(CertificateError::Malformed)?.valid_dns_names().next().is_some();
        if has_names { Ok(named) } else { Err(CertificateError::NoNames) }
    }

    /// Its DNS names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.leaf().map(|leaf| leaf.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Whether it is in use before or after its time, in words.
    #[must_use]
    pub fn date_problem(&self) -> Option<&'static str> {
        let leaf = self.leaf().ok()?;
        // Its dates are checked before it has no issuer here.
        let usage = KeyUsage::server_auth();
        match leaf.verify_for_usage(&[], &[], &[], UnixTime::now(), usage, None, None).err()? {
            webpki::Error::CertExpired { .. } => Some("has expired"),
            webpki::Error::CertNotValidYet { .. } => Some("is not valid yet"),
            _ => None,
        }
    }

    fn leaf(&self) -> Result<EndEntityCert<'_>, webpki::Error> {
        EndEntityCert::try_from(self.0.end_entity_cert().map_err(|_| webpki::Error::BadDer)?)
    }

    fn is_for(&self, server_name: &str) -> bool {
        let Ok(name) = ServerName::try_from(server_name) else { return false };
        self.leaf().is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

impl Certificates {
    /// The identity's certificate alone.
    ///
    /// # Errors
    /// If the key does not belong to it.
    pub fn new(
        identity: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let identity = Arc::new(CertifiedKey::from_der(vec![identity], key, &provider())?);
        Ok(Self { identity, operators: Arc::default() })
    }

    /// The DNS names of the operator's certificate.
    #[must_use]
    pub fn operators_names(&self) -> Vec<String> {
        self.operators.read().as_ref().map(NamedCertificate::names).unwrap_or_default()
    }

    /// Handshakes from now on with one of the names of this certificate get it, in place of the one before.
    pub fn set_operators(&self, certificate: Option<NamedCertificate>) {
        *self.operators.write() = certificate;
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let operators = self.operators.read();
        let named = operators
            .as_ref()
            .filter(|named| client_hello.server_name().is_some_and(|name| named.is_for(name)));
        Some(Arc::clone(named.map_or(&self.identity, |named| &named.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.der().clone(), PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()))
    }

    #[test]
    fn a_certificate_is_for_its_names_and_for_one_label_in_place_of_a_wildcard() {
        let (certificate, key) = made(&["pull.example.org", "*.cdn.example.org"]);
        let named = NamedCertificate::new(vec![certificate], key).unwrap();
        assert_eq!(named.names(), ["pull.example.org", "*.cdn.example.org"]);
        for name in ["pull.example.org", "PULL.example.org", "a.cdn.example.org"] {
            assert!(named.is_for(name), "{name}");
        }
        for name in
            ["example.org", "cdn.example.org", "a.b.cdn.example.org", "pull.example.org.evil.org", "", "::1"]
        {
            assert!(!named.is_for(name), "{name}");
        }
    }

    #[test]
    fn dates_are_checked() {
        for (from, until, expected) in
            [(2020, 2021, Some("has expired")), (2020, 4000, None), (4000, 4001, Some("is not valid yet"))]
        {
            let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap().der().clone();
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            assert_eq!(NamedCertificate::new(vec![certificate], key).unwrap().date_problem(), expected);
        }
    }

    #[test]
    fn a_certificate_without_dns_names_or_with_another_key_is_refused() {
        let (certificate, key) = made(&["192.0.2.1"]);
        let refused = NamedCertificate::new(vec![certificate.clone()], key);
        assert!(matches!(refused, Err(CertificateError::NoNames)), "{refused:?}");
        let refused = NamedCertificate::new(vec![certificate], made(&["a.example"]).1);
        assert!(matches!(refused, Err(CertificateError::Tls(_))), "{refused:?}");
        assert!(NamedCertificate::new(vec![], made(&["a.example"]).1).is_err());
    }
}
