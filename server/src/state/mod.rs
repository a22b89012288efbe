//! The state directory: a few files, each written by one command.
//!
//! `identity.pem`, `quic.keys` and `token.key` are created once. Only `invite` and `revoke` write `clients`, and only
//! `run` writes `usage` and `public`, of which one runs at a time. A command must never overwrite another's changes. Replicas of a
//! server may share `identity.pem`, `token.key` and the clients' file, and nothing else.

mod client_file;
mod clients;
mod directory;
mod error;
mod identity;
mod public_address;
mod quic_keys;
mod random;
mod reserve;
mod run_lock;
pub mod usage;
mod watch;

pub use clients::{Client, ClientList, ClientsError, Revocation};
pub use directory::State;
pub use error::StateError;
pub use identity::Identity;
pub(crate) use random::random;
pub use run_lock::RunLock;
pub use usage::{ClientUsage, Usage};
pub use watch::ClientWatch;

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::link::{ClientName, ClientSecret};
    use jiff::Timestamp;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    fn invite(state: &State, name: &str) -> Result<(), ClientsError> {
        let name: ClientName = name.parse().unwrap();
        let secret = ClientSecret::from_random([7; 32]);
        state.change_clients(|list| list.add(&name, &secret, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn the_directory_and_all_in_it_are_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let state = State::open(&path).unwrap();
        state.identity().unwrap();
        state.quic_keys().unwrap();
        invite(&state, "laptop").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for entry in path.read_dir().unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_reopened_state_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        assert!(state.clients().unwrap().is_empty());
        let pin = state.identity().unwrap().pin;
        let quic_keys = state.quic_keys().unwrap();
        invite(&state, "laptop").unwrap();

        let state = State::open(dir.path()).unwrap();
        assert_eq!(state.identity().unwrap().pin, pin);
        assert_eq!(state.quic_keys().unwrap(), quic_keys);
        assert_eq!(state.clients().unwrap().iter().count(), 1);
    }

    #[test]
    fn servers_with_one_clients_file_know_the_same_clients_and_count_for_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shared/clients");
        std::fs::create_dir(dir.path().join("shared")).unwrap();
        let open =
            |name| State::open(&dir.path().join(name)).unwrap().with_shared_clients(Some(file.clone()));
        let [first, second] = [open("first"), open("second")];
        invite(&first, "laptop").unwrap();
        assert!(matches!(invite(&second, "laptop"), Err(ClientsError::Taken(_))));
        for state in [&first, &second] {
            assert!(state.clients().unwrap().iter().count() == 1);
            state.ensure_reserve();
            assert!(!state.path("clients").exists() && !state.path("reserve").exists());
        }
        std::fs::remove_file(dir.path().join("shared/clients.lock")).unwrap();
        let mut names: Vec<_> =
            dir.path().join("shared").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["clients"], "no leftovers");
    }

    #[test]
    fn clients_invited_at_the_same_time_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let state = State::open(dir.path()).unwrap();
                scope.spawn(move || {
                    for n in 0..5 {
                        invite(&state, &format!("client-{thread}-{n}")).unwrap();
                    }
                });
            }
        });
        let state = State::open(dir.path()).unwrap();
        assert_eq!(state.clients().unwrap().iter().count(), 20);
    }

    #[test]
    fn a_failed_change_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        invite(&state, "laptop").unwrap();
        let before = state.clients().unwrap();
        assert!(matches!(invite(&state, "laptop"), Err(ClientsError::Taken(_))));
        assert_eq!(state.clients().unwrap(), before);
    }

    #[test]
    fn the_error_of_a_damaged_file_names_it_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        for name in ["identity.pem", "quic.keys", "token.key", "clients", "usage"] {
            std::fs::write(state.path(name), "x = [").unwrap();
        }
        for (name, error) in [
            ("identity.pem", state.identity().map(drop).unwrap_err()),
            ("quic.keys", state.quic_keys().map(drop).unwrap_err()),
            ("clients", state.clients().map(drop).unwrap_err()),
            ("usage", usage::totals(&state).map(drop).unwrap_err()),
        ] {
            let text = error.to_string();
            let start = format!("{} is damaged (", state.path(name).display());
            assert!(text.starts_with(&start), "{text}");
        }
    }
}
