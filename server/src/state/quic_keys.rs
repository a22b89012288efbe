//! QUIC's own keys, which outlive the process: `quic.keys`, which is this server's alone, and `token.key`, which replicas
//! of a server may share.
//!
//! Must never change at a restart: a server with new keys cannot reset the connections of its last run
//! (stateless reset, RFC 9000, section 10.3), and each client would wait for its idle timeout.

use super::directory::State;
use super::error::StateError;
use super::random::random;
use docxy_host::files::private_file;
use docxy_transport::quic::ListenerKeys;
use std::path::Path;

const OWN: usize = ListenerKeys::OWN_LENGTH;
const TOKEN: usize = ListenerKeys::TOKEN_LENGTH;

/// Bytes of the key that signs stateless resets, which is the first of the file.
const RESET: usize = 64;

impl State {
    /// The QUIC keys, created once. With them, clients notice a restart of the server.
    ///
    /// # Errors
    /// If the keys cannot be created, stored or read.
    pub fn quic_keys(&self) -> Result<ListenerKeys, StateError> {
        load_or_create(&self.path("quic.keys"), &self.path("token.key"))
    }
}

/// The keys in these files, which are created once.
fn load_or_create(own: &Path, token: &Path) -> Result<ListenerKeys, StateError> {
    let own_bytes = private_file::read_or_create(own, || random::<OWN>().map(Vec::from))?;
    // Older versions had the token key in the same file, after the first one.
    let (own_bytes, old_token) = match own_bytes.len() {
        length if length == OWN + TOKEN => {
            let (reset, rest) = own_bytes.split_at(RESET);
            let (old_token, connection_id) = rest.split_at(TOKEN);
            ([reset, connection_id].concat(), Some(old_token.to_vec()))
        }
        _ => (own_bytes, None),
    };
    let make = || old_token.map_or_else(|| random::<TOKEN>().map(Vec::from), Ok);
    let token_bytes = private_file::read_or_create(token, make)?;
    Ok(ListenerKeys::new(&sized(&own_bytes, own)?, &sized(&token_bytes, token)?))
}

fn sized<const LENGTH: usize>(bytes: &[u8], path: &Path) -> Result<[u8; LENGTH], StateError> {
    let damaged = |_| {
        let detail = format!("{} bytes long", bytes.len());
        StateError::damaged(path, detail, "delete it, and new keys are made")
    };
    bytes.try_into().map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_keys_come_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let [own, token, other] = ["own", "token", "other"].map(|name| dir.path().join(name));
        let first = load_or_create(&own, &token).unwrap();
        assert_eq!(first, load_or_create(&own, &token).unwrap());
        assert_ne!(first, load_or_create(&other, &token).unwrap());
    }

    #[test]
    fn the_keys_of_an_older_version_stay() {
        let dir = tempfile::tempdir().unwrap();
        let [own, token] = ["own", "token"].map(|name| dir.path().join(name));
        let old = [[1; RESET].as_slice(), &[2; TOKEN], &[3; OWN - RESET]].concat();
        private_file::write(&own, &old).unwrap();
        let mut expected = [1; OWN];
        expected[RESET..].fill(3);
        for _ in 0..2 {
            assert_eq!(load_or_create(&own, &token).unwrap(), ListenerKeys::new(&expected, &[2; TOKEN]));
        }
        assert_eq!(std::fs::read(&token).unwrap(), [2; TOKEN]);
    }
}
