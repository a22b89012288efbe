//! The lock by which one server at a time runs on a state directory: two would overwrite each other's
//! counts, and each would end connections that the other knows nothing of.
//!
//! The kernel releases it when the process ends in any way, so an old file never blocks a new server. The
//! file stays, and names the last process and, on a second line, the clients' file of `--clients-file`: other commands
//! must never change a file that the server does not read.

use super::directory::State;
use super::error::StateError;
use docxy_host::files::private_file::{self, FileError};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

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
                self.record_run(&file);
                Ok(RunLock { _file: Some(file) })
            }
            Err(TryLockError::WouldBlock) => {
                let process = private_file::read(&path).ok().flatten().and_then(|text| process_of(&text));
                Err(StateError::InUse { directory: self.directory().to_owned(), process })
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(%error, path = %path.display(), "this file system has no locks: make sure that only one server runs here");
                self.record_run(&file);
                Ok(RunLock { _file: None })
            }
            Err(TryLockError::Error(source)) => Err(failed(source).into()),
        }
    }

    /// Whether a server runs here.
    ///
    /// # Errors
    /// If the lock cannot be opened.
    pub fn is_running(&self) -> Result<bool, StateError> {
        let path = self.path("run.lock");
        match File::open(&path) {
            Ok(file) => Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(FileError::Lock { path, source }.into()),
        }
    }

    /// The clients' file that the server here reads, or the last one read. `None` if none ever ran here.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn clients_file_of_server(&self) -> Result<Option<PathBuf>, StateError> {
        let record = private_file::read(&self.path("run.lock"))?;
        Ok(record.map(|record| match lines(&record).1 {
            b"" => self.path("clients"),
            shared => Path::new(OsStr::from_bytes(shared)).to_owned(),
        }))
    }

    /// Writes who has the lock. Without `--clients-file` all records have one length, so that a full disk has room for
    /// the next one, too.
    fn record_run(&self, file: &File) {
        let mut record = format!("{:>10}\n", std::process::id()).into_bytes();
        if let Some(clients) = self.shared_clients() {
            let absolute = std::path::absolute(clients).unwrap_or_else(|_| clients.to_owned());
            record.extend([absolute.as_os_str().as_bytes(), b"\n"].concat());
        }
        let written = file.write_all_at(&record, 0).and_then(|()| file.set_len(record.len() as u64));
        if let Err(error) = written {
            tracing::warn!(%error, "invite and revoke need the flag --clients-file, if this server has it: run.lock cannot be written");
        }
    }
}

/// The process, and the clients' file if it is not the one in the directory.
fn lines(record: &[u8]) -> (&[u8], &[u8]) {
    let end = record.iter().position(|byte| *byte == b'\n').unwrap_or(record.len());
    let (process, rest) = record.split_at(end);
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    (process, rest.strip_suffix(b"\n").unwrap_or(rest))
}

fn process_of(record: &[u8]) -> Option<u32> {
    std::str::from_utf8(lines(record).0).ok()?.trim().parse().ok()
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
        assert!(state.is_running().unwrap());
        drop(first);
        assert!(!state.is_running().unwrap());
        drop(state.lock_for_run().unwrap());
        assert_eq!(std::fs::read(state.path("run.lock")).unwrap().len(), 11);
    }

    #[test]
    fn the_clients_file_of_the_last_server_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        assert_eq!(state.clients_file_of_server().unwrap(), None);
        let (own, shared) = (state.path("clients"), dir.path().join("shared/of several"));
        let runs = [(Some(shared.clone()), &shared), (None, &own), (Some(shared.clone()), &shared)];
        for (given, expected) in runs {
            drop(state.clone().with_shared_clients(given).lock_for_run().unwrap());
            assert_eq!(state.clients_file_of_server().unwrap().as_ref(), Some(expected));
        }
        // As older versions wrote it.
        std::fs::write(state.path("run.lock"), "      4711\n").unwrap();
        assert_eq!(state.clients_file_of_server().unwrap(), Some(own));
    }
}
