//! QUIC's own keys, which outlive the process.
//!
//! Must never change at a restart: a server with new keys cannot reset the connections of its last run
//! (stateless reset, RFC 9000, section 10.3), and each client would wait for its idle timeout.

use super::{StateError, file, random};
use docxy_transport::quic::ListenerKeys;
use std::path::Path;

/// The keys in this file, which is created once.
pub(super) fn load_or_create(path: &Path) -> Result<ListenerKeys, StateError> {
    let bytes = file::read_or_create(path, || Ok(random::<{ ListenerKeys::LENGTH }>()?.to_vec()))?;
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
