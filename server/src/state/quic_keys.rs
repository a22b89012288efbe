//! QUIC's own keys, which outlive the process.
//!
//! Must never change at a restart: a server with new keys cannot reset the connections of its last run
//! (stateless reset, RFC 9000, section 10.3), and each client would wait for its idle timeout.

use super::directory::State;
use super::error::StateError;
use super::random::random;
use docxy_host::private_file;
use docxy_transport::quic::ListenerKeys;

impl State {
    /// The QUIC keys, created once. With them, clients notice a restart of the server.
    ///
    /// # Errors
    /// If the keys cannot be created, stored or read.
    pub fn quic_keys(&self) -> Result<ListenerKeys, StateError> {
        let path = self.path("quic.keys");
        let create = || random::<{ ListenerKeys::LENGTH }>().map(Vec::from);
        let bytes = private_file::read_or_create(&path, create)?;
        ListenerKeys::from_bytes(&bytes).ok_or_else(|| {
            let detail = format!("{} bytes long", bytes.len());
            StateError::damaged(&path, detail, "delete it, and new keys are made")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_keys_come_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let keys = |name: &str| State::open(&dir.path().join(name)).unwrap().quic_keys().unwrap();
        let first = keys("one");
        assert_eq!(first, keys("one"));
        assert_ne!(first, keys("other"));
    }
}
