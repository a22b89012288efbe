//! The server's identity: a private key, which the first start creates.
//!
//! Links contain the key's pin, so the key must never change, nor be replaced if it is lost and there are clients. The
//! certificate is made again at each start, because clients check only its key.

use super::directory::{KNOWN_CLIENTS_FILES, State};
use super::error::StateError;
use docxy_host::files::private_file;
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
    /// The server's identity, created once.
    ///
    /// # Errors
    /// If the key cannot be created, stored or read, or is gone and there are clients.
    pub fn identity(&self) -> Result<Identity, StateError> {
        let path = self.path("identity.pem");
        let damaged = |detail: &dyn Display| {
            let remedy = "restore it from a backup; without it every link ever given out is void: only then \
                          delete it and the clients, and invite all clients again";
            StateError::damaged(&path, detail, remedy)
        };
        let pem = private_file::read_or_create(&path, || match self.remedy_of_lost_identity()? {
            Some(remedy) => Err(StateError::IdentityLost { path: path.clone(), remedy }),
            None => new_key(),
        })?;
        let pem = String::from_utf8(pem).map_err(|_| damaged(&"not text"))?;
        let key = KeyPair::from_pem(&pem).map_err(|e| damaged(&e))?;
        let certificate = certificate(&key).map_err(|e| damaged(&e))?;
        let pin = Pin::from_certificate(&certificate).map_err(|e| damaged(&e))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(Identity { certificate, key, pin })
    }

    /// What to do about a missing key, if there are clients already.
    fn remedy_of_lost_identity(&self) -> Result<Option<String>, StateError> {
        let has_clients = !self.clients()?.is_empty();
        if has_clients && self.shared_clients().is_some() {
            let remedy = "copy it from a server that shares the clients' file, or restore it from a backup";
            return Ok(Some(remedy.to_owned()));
        }
        let files = ["clients", KNOWN_CLIENTS_FILES].map(|name| self.path(name));
        let files: Vec<_> =
            files.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
        Ok((!files.is_empty()).then(|| {
            let files = files.join(" and ");
            format!("restore it from a backup; to begin anew, delete {files}, and invite all clients again")
        }))
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
    use docxy_protocol::link::ClientSecret;

    #[test]
    fn a_lost_key_is_not_replaced_while_there_are_clients() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("st")).unwrap();
        let add = |state: &State, name: &str| {
            let (name, secret) = (name.parse().unwrap(), ClientSecret::from_random([1; 32]));
            state.change_clients(|list| list.add(&name, &secret, Timestamp::UNIX_EPOCH)).unwrap();
        };
        let pin = state.identity().unwrap().pin;
        add(&state, "laptop");
        let key = state.path("identity.pem");
        std::fs::remove_file(&key).unwrap();
        let error = state.identity().unwrap_err();
        let files =
            ["clients", "clients.known"].map(|name| state.path(name).display().to_string()).join(" and ");
        assert!(error.to_string().contains(&format!("delete {files}, and invite all")), "{error}");
        assert!(!key.exists());
        // Each of the two files is enough.
        std::fs::remove_file(state.path("clients")).unwrap();
        assert!(state.identity().is_err());
        std::fs::remove_file(state.path("clients.known")).unwrap();
        assert_ne!(state.identity().unwrap().pin, pin);

        // A replica needs the key of those that share the clients' file. The first of them makes it.
        let replica = |name: &str| {
            let state = State::open(&dir.path().join(name)).unwrap();
            state.with_shared_clients(Some(dir.path().join("shared")))
        };
        let first = replica("first");
        let pin = first.identity().unwrap().pin;
        add(&first, "laptop");
        let second = replica("second");
        let error = second.identity().unwrap_err();
        assert!(
            error.to_string().ends_with(
                "copy it from a server that shares the clients' file, or restore it from a backup"
            ),
            "{error}"
        );
        std::fs::copy(first.path("identity.pem"), second.path("identity.pem")).unwrap();
        assert_eq!(second.identity().unwrap().pin, pin);
    }

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
