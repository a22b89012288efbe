//! Files that only their owner may read, and which are replaced whole.
//!
//! Must never leave a half-written file, or know what a file contains.

use super::input_file::{self, as_std, is_of_kernel};
use crate::platform::swap::swap_names;
use rustix::fs::OFlags;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// As many as Linux follows.
const SYMBOLIC_LINKS_MAX: usize = 40;

/// An error with a file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are a path and what the system said")]
pub enum FileError {
    /// It is there but cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The lock cannot be taken.
    #[error("cannot lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
}

impl FileError {
    /// Whether there is no room for the file.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Read { .. } => false,
            Self::Write { source, .. } | Self::Lock { source, .. } => is_full(source),
        }
    }

    /// Whether the file is not for this user.
    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        let (Self::Read { source, .. } | Self::Write { source, .. } | Self::Lock { source, .. }) = self;
        source.kind() == ErrorKind::PermissionDenied
    }
}

/// Whether an error says that the disk, or the user's share of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The bytes of disk space that a file in this directory could still get.
///
/// # Errors
/// If the system does not tell.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(directory)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// Creates a directory, and those above it, for the owner only.
///
/// # Errors
/// If it cannot be created.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file's content; `None` if there is no such file. As with [`open`], no other user chooses which file this is.
///
/// # Errors
/// If it cannot be read, or is no file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let mut file = open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Opens a file for reading. Symbolic links are followed as by [`target`]: the owner of a directory must not choose which
/// file root reads.
///
/// # Errors
/// If a link is of another user, or the file cannot be opened, or is a named pipe.
pub fn open(path: &Path) -> io::Result<File> {
    match input_file::open(&target(path)?, OFlags::NOFOLLOW) {
        // A pipe of this process, such as /dev/stdin, is a link to no name.
        Err(error) if error.kind() == ErrorKind::NotFound && is_of_kernel(path) => File::open(path),
        opened => opened,
    }
}

/// The file that a path leads to: symbolic links are followed, also to a file that is not there yet.
///
/// Only those of this user and of root: the owner of a directory must not choose which file root replaces.
///
/// # Errors
/// If a link is of another user, or cannot be read.
pub fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..SYMBOLIC_LINKS_MAX {
        let owner = match std::fs::symlink_metadata(&path) {
            Ok(about) if about.is_symlink() => about.uid(),
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
        };
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            let text = format!("{} is a symbolic link of another user", path.display());
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        path = directory(&path).join(std::fs::read_link(&path)?);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Replaces a file's content atomically: a reader, also after a crash, gets the old or the new content. The file that
/// a symbolic link leads to is replaced, and the link stays.
///
/// # Errors
/// If the file cannot be written. It is then unchanged.
pub fn write(path: &Path, content: &[u8]) -> Result<(), FileError> {
    Prepared::private(path, content)?.commit()
}

/// The same. Creates missing directories, for the owner only.
///
/// # Errors
/// If the file or a directory cannot be written.
pub fn write_with_directory(path: &Path, content: &[u8]) -> Result<(), FileError> {
    target(path).and_then(|path| create_directory(directory(&path))).map_err(failed_write(path))?;
    write(path, content)
}

/// The same for a file that is not private: it keeps its mode and owner. A new one gets mode 0644.
///
/// # Errors
/// If the file cannot be written. It is then unchanged.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    Prepared::like(path, path, content)?.commit()
}

/// A complete file that has not taken its place yet, and goes if it is dropped. The disk has room for it.
#[derive(Debug)]
pub struct Prepared {
    file: NamedTempFile,
    target: PathBuf,
}

impl Prepared {
    /// One that replaces the file at `path`, for the owner only.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn private(path: &Path, content: &[u8]) -> Result<Self, FileError> {
        let prepared = || {
            let target = target(path)?;
            Ok(Self { file: temporary(&target, content)?, target })
        };
        prepared().map_err(failed_write(path))
    }

    /// One with the mode and owner of another file; with mode 0644 if that one is not there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn like(other: &Path, path: &Path, content: &[u8]) -> Result<Self, FileError> {
        let prepared = Self::private(path, content)?;
        let file = prepared.file.as_file();
        let take_mode = || match std::fs::metadata(other) {
            Ok(about) => {
                let ours = file.metadata()?;
                if (ours.uid(), ours.gid()) != (about.uid(), about.gid()) {
                    fchown(file, Some(about.uid()), Some(about.gid()))?;
                }
                file.set_permissions(about.permissions())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                file.set_permissions(Permissions::from_mode(0o644))
            }
            Err(error) => Err(error),
        };
        take_mode().map_err(failed_write(path))?;
        Ok(prepared)
    }

    /// Gives it its place, atomically.
    ///
    /// # Errors
    /// If that fails. The old file is then unchanged.
    pub fn commit(self) -> Result<(), FileError> {
        let Self { file, target } = self;
        file.persist(&target)
            .map_err(io::Error::from)
            .and_then(|_| sync_directory(&target))
            .map_err(failed_write(&target))
    }
}

/// The same by overwriting another file, which then replaces the one at `path`. So no disk space is
/// allocated, and none is freed that another process could take.
///
/// # Errors
/// If the other file cannot be written.
pub fn write_over(other: &Path, path: &Path, content: &[u8]) -> Result<(), FileError> {
    let written = || {
        let path = &target(path)?;
        let file = OpenOptions::new().write(true).open(other)?;
        file.write_all_at(content, 0)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()?;
        swap_names(other, path).or_else(|_| std::fs::rename(other, path))?;
        sync_directory(path)
    };
    written().map_err(failed_write(path))
}

/// A file's content. The file is created if there is none. Two processes that do this together get the same
/// content.
///
/// # Errors
/// If the file cannot be read or written, or its content cannot be made.
pub fn read_or_create<E: From<FileError>>(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    if let Some(content) = read(path)? {
        return Ok(content);
    }
    let failed = failed_write(path);
    let content = make()?;
    let path = &target(path).map_err(&failed)?;
    let file = temporary(path, &content).map_err(&failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            sync_directory(path).map_err(failed)?;
            Ok(content)
        }
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            Ok(read(path)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?)
        }
        Err(error) => Err(failed(error.error).into()),
    }
}

/// Whether other users of this machine may read the file, or change it.
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    // A pipe or a terminal has no bytes to protect.
    path.metadata().is_ok_and(|about| about.is_file() && about.mode() & 0o077 != 0)
}

/// Waits for the lock, and holds it until the file is dropped.
///
/// # Errors
/// If it cannot be opened or locked.
pub fn lock(path: &Path) -> Result<File, FileError> {
    let locked = open_or_create(path).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    locked.map_err(|source| FileError::Lock { path: path.to_owned(), source })
}

/// The file, to be written, which is made if there is none.
///
/// # Errors
/// If it cannot be opened.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match options.clone().create_new(true).open(path) {
        // Only a file that was created here gets another owner: an existing name may be a link.
        Ok(file) => {
            give_to_owner_of(directory(path), &file)?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // The name may be a link or a pipe of the directory's owner.
            let file = options.custom_flags(as_std(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path)?;
            let is_file = file.metadata()?.is_file();
            if is_file {
                Ok(file)
            } else {
                Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"))
            }
        }
        Err(error) => Err(error),
    }
}

/// A complete temporary file in the same directory, because a rename is atomic only within a file system.
fn temporary(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    // The crate opens it with mode 0600, whatever the umask.
    let mut file = NamedTempFile::new_in(directory(path))?;
    file.write_all(content)?;
    give_to_owner_of(directory(path), file.as_file())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Root may invite a client for a server that runs as another user, which must be able to read root's files.
fn give_to_owner_of(directory: &Path, file: &File) -> io::Result<()> {
    let (owner, ours) = (std::fs::metadata(directory)?, file.metadata()?);
    if ours.uid() == 0 && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Without it a crash of the machine may undo the rename.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed_write(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn written_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("new/directory");
        let [written, made, locked] = ["written", "made", "locked"].map(|n| directory.join(n));
        write_with_directory(&written, b"old").unwrap();
        write(&written, b"new").unwrap();
        read_or_create::<FileError>(&made, || Ok(b"made".to_vec())).unwrap();
        drop(lock(&locked).unwrap());
        for path in [&written, &made, &locked] {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
        assert_eq!(read(&written).unwrap().unwrap(), b"new");
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(directory.read_dir().unwrap().count(), 3, "no leftovers");
    }

    #[test]
    fn the_owner_of_a_directory_does_not_choose_what_another_user_opens() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, lock) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("lock"));
        std::fs::write(&file, "content").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink(&file, &lock).unwrap();
        assert_eq!(read(&link).unwrap().unwrap(), b"content", "the link is this user's");
        assert!(super::lock(&lock).is_err());
        assert!(read(dir.path()).is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
            assert!(read(&link).unwrap_err().is_permission_denied());
        }
        assert!(open(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn the_file_that_a_symbolic_link_leads_to_is_replaced_and_the_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("shared")).unwrap();
        std::os::unix::fs::symlink("shared/second", path("first")).unwrap();
        std::os::unix::fs::symlink("../third", path("shared/second")).unwrap();
        assert_eq!(read_or_create::<FileError>(&path("first"), || Ok(b"made".to_vec())).unwrap(), b"made");
        assert_eq!((std::fs::read(path("third")).unwrap(), mode(&path("third"))), (b"made".to_vec(), 0o600));
        write(&path("first"), b"written").unwrap();
        assert_eq!(std::fs::read(path("third")).unwrap(), b"written");
        std::fs::write(path("reserve"), "more bytes than are written").unwrap();
        write_over(&path("reserve"), &path("first"), b"over").unwrap();
        assert_eq!(std::fs::read(path("third")).unwrap(), b"over");
        write_with_directory(&path("first"), b"again").unwrap();
        assert_eq!((std::fs::read(path("third")).unwrap(), mode(&path("third"))), (b"again".to_vec(), 0o600));
        for link in ["first", "shared/second"] {
            assert!(path(link).is_symlink(), "{link}");
        }
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        assert!(write(&path("loop"), b"").is_err());
    }

    #[test]
    fn a_file_that_is_not_private_keeps_its_mode_when_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        replace(&path, b"new").unwrap();
        assert_eq!(mode(&path), 0o644);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"newer").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"newer".to_vec(), 0o640));
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(!is_open_to_others(&path));
        write(&path, b"").unwrap();
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o602, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(&path), is_open, "{mode:o}");
        }
    }

    #[test]
    fn a_file_is_made_once_even_if_many_try() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let seen: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let make = |n: u8| read_or_create::<FileError>(&path, || Ok(vec![n])).unwrap();
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || make(n))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|content| *content == seen[0]), "{seen:?}");
    }

    #[test]
    fn an_error_names_the_file() {
        let path = Path::new("/nonexistent/docxy/clients");
        for error in [write(path, b"").unwrap_err(), lock(path).map(drop).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("/nonexistent/docxy/clients"), "{text}");
        }
        assert!(read(path).unwrap().is_none());
    }
}
