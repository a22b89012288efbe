//! The state directory: a few files, each written by one command.
//!
//! `identity.pem` and `quic.keys` are created once. Only `invite` and `revoke` write `clients`, and only
//! `run` writes `usage`, of which one runs at a time. A command must never overwrite another's changes.

mod clients;
pub(crate) mod file;
mod identity;
pub(crate) mod location;
mod quic_keys;
mod reserve;
mod run_lock;
pub mod usage;
mod watch;

pub use clients::{Client, ClientBook, ClientsError, Revocation};
pub use identity::Identity;
pub use run_lock::{InUseBy, RunLock};
pub use usage::{ClientUsage, Usage};
pub use watch::ClientWatch;

use docxy_transport::quic::ListenerKeys;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// An error with a file of the state directory.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are a path and what the system said")]
pub enum StateError {
    /// The directory cannot be made.
    #[error("cannot create the state directory {}: {source}; pass another with --state DIR", path.display())]
    Create { path: PathBuf, source: io::Error },
    /// A file is there but cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The lock cannot be taken.
    #[error("cannot lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    /// Another server runs on this directory.
    #[error(
        "another docxy-server{process} uses the state directory {}: stop that one first, or give this one \
         another directory with --state DIR",
        directory.display()
    )]
    InUse { directory: PathBuf, process: InUseBy },
    /// A file's content is invalid.
    #[error("{} is damaged ({detail}); {remedy}", path.display())]
    Damaged { path: PathBuf, detail: String, remedy: &'static str },
    /// Keys cannot be made.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl StateError {
    /// Whether there is no room for a file.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (Self::Create { source, .. } | Self::Write { source, .. } | Self::Lock { source, .. }) = self
        else {
            return false;
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// An open state directory.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// Opens the directory. It is created with mode 0700 if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        created.map_err(|source| StateError::Create { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The path of a file with this name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The server's identity, created once.
    ///
    /// # Errors
    /// If the key cannot be created, stored or read.
    pub fn identity(&self) -> Result<Identity, StateError> {
        Identity::load_or_create(&self.path("identity.pem"))
    }

    /// The QUIC keys, created once. With them, clients notice a restart of the server.
    ///
    /// # Errors
    /// If the keys cannot be created, stored or read.
    pub fn quic_keys(&self) -> Result<ListenerKeys, StateError> {
        quic_keys::load_or_create(&self.path("quic.keys"))
    }

    /// Whether a client was ever invited.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        self.clients_path().exists()
    }

    /// The current clients; an empty book if none was invited yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn clients(&self) -> Result<ClientBook, StateError> {
        ClientBook::load(&self.clients_path())
    }

    /// Changes the clients under their lock, and writes the change if it succeeds.
    ///
    /// # Errors
    /// The change's own error, or if the file cannot be locked, read or written.
    pub fn change_clients<T>(
        &self,
        change: impl FnOnce(&mut ClientBook) -> Result<T, ClientsError>,
    ) -> Result<T, ClientsError> {
        self.change_clients_by(change, file::write)
    }

    /// The same on a full disk, with the reserve.
    ///
    /// # Errors
    /// As above, or if there is no reserve.
    pub(crate) fn change_clients_with_reserve<T>(
        &self,
        change: impl FnOnce(&mut ClientBook) -> Result<T, ClientsError>,
    ) -> Result<T, ClientsError> {
        self.change_clients_by(change, |path, content| self.write_with_reserve(path, content))
    }

    fn change_clients_by<T>(
        &self,
        change: impl FnOnce(&mut ClientBook) -> Result<T, ClientsError>,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), StateError>,
    ) -> Result<T, ClientsError> {
        let _lock = self.lock_clients()?;
        let before = self.clients()?;
        let mut book = before.clone();
        let outcome = change(&mut book)?;
        if book != before {
            write(&self.clients_path(), book.to_text().as_bytes())?;
        }
        self.make_reserve();
        Ok(outcome)
    }

    /// The lock is a file of its own, since the clients' file is replaced by every change.
    fn lock_clients(&self) -> Result<std::fs::File, StateError> {
        file::lock(&self.path("clients.lock"))
    }

    fn clients_path(&self) -> PathBuf {
        self.path("clients")
    }
}

/// Random bytes, for a key.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StateError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| StateError::Random(e.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::link::{ClientName, ClientSecret};
    use jiff::Timestamp;
    use std::os::unix::fs::PermissionsExt as _;

    fn invite(state: &State, name: &str) -> Result<(), ClientsError> {
        let name: ClientName = name.parse().unwrap();
        let secret = ClientSecret::from_random([7; 32]);
        state.change_clients(|book| book.add(&name, &secret, Timestamp::UNIX_EPOCH))
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
        assert!(!state.has_clients());
        let pin = state.identity().unwrap().pin;
        let quic_keys = state.quic_keys().unwrap();
        invite(&state, "laptop").unwrap();

        let state = State::open(dir.path()).unwrap();
        assert!(state.has_clients());
        assert_eq!(state.identity().unwrap().pin, pin);
        assert_eq!(state.quic_keys().unwrap(), quic_keys);
        assert_eq!(state.clients().unwrap().iter().count(), 1);
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
        for name in ["identity.pem", "quic.keys", "clients", "usage"] {
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
