//! The lock by which one server at a time runs on a state directory: two would overwrite each other's
//! counts, and each would end connections that the other knows nothing of.
//!
//! The kernel releases it when the process ends in any way, so an old file never blocks a new server. The
//! file stays, and names the last process.

use super::directory::State;
use super::error::StateError;
use docxy_host::private_file::{self, FileError};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Held by the running server, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it lets another server run here"]
pub struct RunLock {
    _file: Option<File>,
}

impl State {
    /// Takes the lock for this process.
    ///
    /// # Errors
    /// If another server has it.
    pub fn lock_for_run(&self) -> Result<RunLock, StateError> {
        let path = self.path("run.lock");
        let failed = |source| FileError::Lock { path: path.clone(), source };
        let file = private_file::open_or_create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // For people only, and of one length, so that a full disk has room for the next one, too.
                let _ = file.write_all_at(format!("{:>10}\n", std::process::id()).as_bytes(), 0);
                Ok(RunLock { _file: Some(file) })
            }
            Err(TryLockError::WouldBlock) => {
                let process = private_file::read(&path).ok().flatten().and_then(|text| process_of(&text));
                Err(StateError::InUse { directory: self.directory().to_owned(), process })
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(%error, path = %path.display(), "this file system has no locks: make sure that only one server runs here");
                Ok(RunLock { _file: None })
            }
            Err(TryLockError::Error(source)) => Err(failed(source).into()),
        }
    }
}

fn process_of(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_has_the_lock_and_others_get_its_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let first = state.lock_for_run().unwrap();
        let error = State::open(dir.path()).unwrap().lock_for_run().unwrap_err().to_string();
        let start = format!("another docxy-server (process {}) uses", std::process::id());
        assert!(error.starts_with(&start) && error.contains(&dir.path().display().to_string()), "{error}");
        std::fs::write(state.path("run.lock"), "?").unwrap();
        let error = state.lock_for_run().unwrap_err().to_string();
        assert!(error.starts_with("another docxy-server uses"), "{error}");
        drop(first);
        drop(state.lock_for_run().unwrap());
        assert_eq!(std::fs::read(state.path("run.lock")).unwrap().len(), 11);
    }
}
