//! QUIC's own keys, which outlive the process.
//!
//! Must never change at a restart: a server with new keys cannot reset the connections of its last run
//! (stateless reset, RFC 9000, section 10.3), and each client would wait for its idle timeout.

use super::directory::State;
use super::error::StateError;
use super::random::random;
use docxy_host::private_file;
use docxy_transport::quic::ListenerKeys;
use std::path::Path;

impl State {
    /// The QUIC keys, created once. With them, clients notice a restart of the server.
    ///
    /// # Errors
    /// If the keys cannot be created, stored or read.
    pub fn quic_keys(&self) -> Result<ListenerKeys, StateError> {
        load_or_create(&self.path("quic.keys"))
    }
}

/// The keys in this file, which is created once.
fn load_or_create(path: &Path) -> Result<ListenerKeys, StateError> {
    let bytes = private_file::read_or_create(path, || random::<{ ListenerKeys::LENGTH }>().map(Vec::from))?;
    ListenerKeys::from_bytes(&bytes).ok_or_else(|| StateError::Damaged {
        path: path.to_owned(),
        detail: format!("{} bytes long", bytes.len()),
        remedy: "delete it, and new keys are made",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_keys_come_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quic.keys");
        let first = load_or_create(&path).unwrap();
        assert_eq!(first, load_or_create(&path).unwrap());
        assert_ne!(first, load_or_create(&dir.path().join("other")).unwrap());
    }
}
