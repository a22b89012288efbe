//! QUIC's own keys, which outlive the process.
//!
//! Must never change at a restart: a server with new keys cannot reset the connections of its last run
//! (stateless reset, RFC 9000, section 10.3), and each client would wait for its idle timeout.

use super::directory::State;
use super::error::StateError;
use super::random::random;
use docxy_host::private_file;
use quinn::crypto::{HandshakeTokenKey, HmacKey};
use ring::{hkdf, hmac};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

const RESET_KEY_BYTES: usize = 64;
const TOKEN_KEY_BYTES: usize = 64;
const CONNECTION_ID_KEY_BYTES: usize = 8;

/// The three keys. The file holds their bytes one after the other.
pub struct QuicKeys {
    reset: [u8; RESET_KEY_BYTES],
    token: [u8; TOKEN_KEY_BYTES],
    connection_id: [u8; CONNECTION_ID_KEY_BYTES],
}

impl State {
    /// The QUIC keys, created once. With them, clients notice a restart of the server.
    ///
    /// # Errors
    /// If the keys cannot be created, stored or read.
    pub fn quic_keys(&self) -> Result<QuicKeys, StateError> {
        QuicKeys::load_or_create(&self.path("quic.keys"))
    }
}

impl QuicKeys {
    fn load_or_create(path: &Path) -> Result<Self, StateError> {
        let bytes = private_file::read_or_create(path, || {
            random::<{ RESET_KEY_BYTES + TOKEN_KEY_BYTES + CONNECTION_ID_KEY_BYTES }>().map(Vec::from)
        })?;
        Self::parse(&bytes).ok_or_else(|| StateError::Damaged {
            path: path.to_owned(),
            detail: format!("{} bytes long", bytes.len()),
            remedy: "delete it, and new keys are made",
        })
    }

    /// Signs stateless resets: for `quinn::EndpointConfig::new`.
    #[must_use]
    pub fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset))
    }

    /// Seals retry and address tokens: for `quinn::ServerConfig::new`.
    #[must_use]
    pub fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.token))
    }

    /// Marks connection IDs as this server's: for `quinn::HashedConnectionIdGenerator::from_key`.
    #[must_use]
    pub fn connection_id_key(&self) -> u64 {
        u64::from_be_bytes(self.connection_id)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (reset, rest) = bytes.split_first_chunk()?;
        let (token, rest) = rest.split_first_chunk()?;
        Some(Self { reset: *reset, token: *token, connection_id: rest.try_into().ok()? })
    }
}

impl fmt::Debug for QuicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_keys_come_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quic.keys");
        let sign = |keys: &QuicKeys| {
            let mut signature = vec![0; keys.reset_key().signature_len()];
            keys.reset_key().sign(b"connection id", &mut signature);
            signature
        };
        let first = QuicKeys::load_or_create(&path).unwrap();
        let second = QuicKeys::load_or_create(&path).unwrap();
        assert_eq!(sign(&first), sign(&second));
        assert_eq!(first.token, second.token);
        assert_eq!(first.connection_id_key(), second.connection_id_key());

        let other = QuicKeys::load_or_create(&dir.path().join("other")).unwrap();
        assert_ne!(sign(&first), sign(&other));
        assert_ne!(first.connection_id_key(), other.connection_id_key());
    }
}
