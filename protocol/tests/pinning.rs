//! The client accepts only the server with the pinned key; a copy of its certificate is not enough.

#![expect(clippy::unwrap_used, reason = "in test helpers, unwrap is an assertion")]

use docxy_protocol::identity::{Pin, PinnedServer};
use docxy_protocol::tls;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::sync::Arc;

struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["server".into()]).unwrap().self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    fn pin(&self) -> Pin {
        Pin::from_certificate(&self.certificate).unwrap()
    }
}

/// A handshake in memory; returns the client's error, which a user would see.
fn handshake(certificate: &Identity, key: &Identity, pin: Pin) -> Result<(), rustls::Error> {
    let provider = tls::provider();
    let signing = provider
        .key_provider
        .load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.key.clone())))?;
    // Built by hand: the usual builder rejects a key that does not belong to the certificate.
    let certified = rustls::sign::CertifiedKey::new(vec![certificate.certificate.clone()], signing);
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer::new(pin, provider)))
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("server").unwrap())?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    panic!("the handshake does not finish");
}

#[test]
fn the_pinned_server_is_accepted() {
    let server = Identity::new();
    handshake(&server, &server, server.pin()).unwrap();
}

#[test]
fn another_server_is_rejected_with_its_pin_in_the_error() {
    let (server, other) = (Identity::new(), Identity::new());
    let error = handshake(&other, &other, server.pin()).unwrap_err().to_string();
    assert!(error.contains("not the link's"), "{error}");
    assert!(error.contains(&other.pin().to_string()), "{error}");
}

#[test]
fn a_copied_certificate_without_its_key_is_rejected() {
    let (server, thief) = (Identity::new(), Identity::new());
    let error = handshake(&server, &thief, server.pin()).unwrap_err();
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)),
        "{error}"
    );
}

#[test]
fn a_new_certificate_for_the_same_key_has_the_same_pin() {
    let server = Identity::new();
    let key = rcgen::KeyPair::try_from(server.key.as_slice()).unwrap();
    let renewed = rcgen::CertificateParams::new(vec!["new".into()]).unwrap().self_signed(&key).unwrap();
    assert_eq!(Pin::from_certificate(renewed.der()).unwrap(), server.pin());
    assert_eq!(server.pin().to_string().parse::<Pin>().unwrap(), server.pin());
}

#[test]
fn an_invalid_certificate_has_no_pin() {
    assert!(Pin::from_certificate(&CertificateDer::from(vec![1, 2, 3])).is_err());
    let verifier = PinnedServer::new(Identity::new().pin(), tls::provider());
    let name = ServerName::try_from("server").unwrap();
    let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::ZERO);
    assert!(verifier.verify_server_cert(&CertificateDer::from(vec![]), &[], &name, &[], now).is_err());
}
