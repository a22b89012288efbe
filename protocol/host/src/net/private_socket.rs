//! A Unix socket at which a running program serves the commands of its own user.
//!
//! Must never let another user in (except root), take the socket of a process that lives, or delete anything else than a
//! socket. The kernel says who is at the other end, so neither side relies on the directory alone.

use crate::files::private_file;
use std::fs::{File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Write permission for the group and for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are a path and what the system said")]
pub enum SocketError {
    /// A process that lives has it.
    #[error("another process listens at {}", .0.display())]
    InUse(PathBuf),
    /// Its directory cannot be made.
    #[error("{} must be a directory, and it or one above it is a file: move that away, and start again", .0.display())]
    NoDirectory(PathBuf),
    /// Others could replace the socket.
    #[error("{} must be a directory of this user to which nobody else can write", .0.display())]
    Shared(PathBuf),
    /// Something else is there.
    #[error("{} is in the way, and it is no socket: move it away, and start again", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses it.
    #[error("cannot listen at {}: {source}", path.display())]
    Failed { path: PathBuf, source: io::Error },
}

/// A socket that listens. Dropping it removes it.
#[derive(Debug)]
pub struct PrivateSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The kernel releases it when the process ends in any way. Its file stays.
    _lock: File,
}

impl PrivateSocket {
    /// Listens at `path`, whose directory is created if needed. A socket that a dead process left is replaced.
    ///
    /// # Errors
    /// If another process has it, something else is there, or the directory is not private.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Failed { path: path.to_owned(), source };
        let directory = path.parent().unwrap_or(Path::new("."));
        private_file::create_directory(directory).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                SocketError::NoDirectory(directory.to_owned())
            }
            _ => failed(source),
        })?;
        let found = directory.symlink_metadata().map_err(failed)?;
        if !found.is_dir() || found.uid() != own_user() || found.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(SocketError::Shared(directory.to_owned()));
        }
        let lock = private_file::open_or_create(&path.with_extension("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SocketError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        match path.symlink_metadata() {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            // The lock's file may have been deleted.
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned(), _lock: lock };
        // Until here another user could connect, if the directory lets it: `accept` refuses that.
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(socket)
    }

    /// The next connection of this user or of root. Cancel safe.
    ///
    /// # Errors
    /// If the system cannot accept one, probably for lack of file descriptors.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred()?.uid();
            if is_served(peer, own_user()) {
                return Ok(stream);
            }
            tracing::debug!(uid = peer, "refused another user at the private socket");
        }
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        // A socket that stays is replaced by the next process.
        if self.path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connects to the socket at `path`.
///
/// # Errors
/// If no process listens there, or one of another user does.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path).await?;
    let peer = stream.peer_cred()?.uid();
    if is_trusted(peer, own_user()) { Ok(stream) } else { Err(ErrorKind::PermissionDenied.into()) }
}

/// The process that listens at the socket at `path`, as [`connect`] finds it; `None` if there is none, or if the system does
/// not say.
pub async fn listening_process(path: &Path) -> Option<i32> {
    // A process that is hidden from this one has the number 0.
    connect(path).await.ok()?.peer_cred().ok()?.pid().filter(|process| *process > 0)
}

/// Whether the process of user `own` serves the user `peer`.
const fn is_served(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Whether the user `own` relies on a process of user `peer`. Root does: only root can say which user runs the service
/// in a directory of the system.
const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0 || own == 0
}

/// The user that this process acts as.
#[must_use]
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_belongs_to_one_process_until_that_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/client.sock");
        let first = PrivateSocket::bind(&path).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(matches!(PrivateSocket::bind(&path), Err(SocketError::InUse(_))));
        let (one, other) = tokio::join!(connect(&path), first.accept());
        drop((one.unwrap(), other.unwrap()));
        assert_eq!(listening_process(&path).await, i32::try_from(std::process::id()).ok());
        drop(first);
        assert!(!path.exists());
        // As a process leaves it that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists() && connect(&path).await.is_err());
        let second = PrivateSocket::bind(&path).unwrap();
        let (one, other) = tokio::join!(connect(&path), second.accept());
        drop((one.unwrap(), other.unwrap()));
        std::fs::remove_file(path.with_extension("lock")).unwrap();
        assert!(matches!(PrivateSocket::bind(&path), Err(SocketError::InUse(_))), "it lives");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(PrivateSocket::bind(&path), Err(SocketError::NoSocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        for below in ["client.sock", "a/client.sock"] {
            assert!(matches!(PrivateSocket::bind(&path.join(below)), Err(SocketError::NoDirectory(_))));
        }
        std::fs::remove_file(&path).unwrap();
        let socket = PrivateSocket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o707, 0o1777] {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let bound = PrivateSocket::bind(&dir.path().join("client.sock"));
            assert!(matches!(bound, Err(SocketError::Shared(_))), "{mode:o}");
            assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        }
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(matches!(PrivateSocket::bind(&link.join("client.sock")), Err(SocketError::Shared(_))));
    }

    #[test]
    fn only_the_own_user_and_root_are_served_and_relied_on() {
        for (peer, own, served, trusted) in [
            (1000, 1000, true, true),
            (0, 1000, true, true),
            (1001, 1000, false, false),
            (0, 0, true, true),
            (1000, 0, false, true),
        ] {
            assert_eq!((is_served(peer, own), is_trusted(peer, own)), (served, trusted), "{peer} {own}");
        }
    }
}
