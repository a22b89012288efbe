//! The directory of the blobs. All names are below an open directory, and no symbolic link is followed, so that another
//! user cannot choose what is read or removed.
//!
//! Must never remove a file that the store has not made.

use super::file::BLOCK_BYTES;
use super::key::BlobName;
use super::limits::Space;
use super::state::OpenError;
use crate::files::private_file::{create_directory, target};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An open directory. It is locked, so that no other process uses it.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

/// A file in the directory.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) name: BlobName,
    /// The disk space that it uses.
    pub(super) bytes: u64,
    pub(super) used: SystemTime,
}

impl Directory {
    /// Creates and locks the directory.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: io::Error| OpenError::Io { directory: path.to_owned(), source };
        let directory = target(path).and_then(create).map_err(failed)?;
        let about = rustix::fs::fstat(&directory).map_err(|error| failed(error.into()))?;
        if about.st_uid != rustix::process::geteuid().as_raw() {
            return Err(OpenError::OtherUser { directory: path.to_owned() });
        }
        if about.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&directory, Mode::RWXU).map_err(|error| failed(error.into()))?;
        }
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(directory)),
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { directory: path.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The files of blobs, the least recently used first. Removes those that a crash left without a head.
    pub(super) fn list(&self) -> io::Result<Vec<FoundFile>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok().and_then(|name| name.parse::<BlobName>().ok());
            let Some(name) = name else { continue };
            // It may be gone.
            let Ok(about) = self.stat(entry.file_name()) else { continue };
            if (about.st_size as u64) < BLOCK_BYTES {
                let _ = self.remove(&name);
                continue;
            }
            let since =
                Duration::new(about.st_mtime.try_into().unwrap_or_default(), about.st_mtime_nsec as u32);
            let used = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
            // Some file systems allocate later.
            let bytes = (about.st_blocks as u64 * 512).max(BLOCK_BYTES);
            found.push(FoundFile { name, bytes, used });
        }
        found.sort_unstable_by_key(|file| file.used);
        Ok(found)
    }

    /// A new file.
    pub(super) fn create(&self, name: &BlobName) -> io::Result<File> {
        open_at(&self.0, &name.to_string(), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// An existing file.
    pub(super) fn open_file(&self, name: &BlobName) -> io::Result<File> {
        let open = |flags| open_at(&self.0, &name.to_string(), flags);
        let file = match open(OFlags::RDWR) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => open(OFlags::RDONLY)?,
            opened => opened?,
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::InvalidInput.into()) }
    }

    pub(super) fn remove(&self, name: &BlobName) -> io::Result<()> {
        let name = name.to_string();
        self.stat(&name)?;
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// About a file that the store may have made.
    fn stat(&self, name: impl Arg) -> io::Result<Stat> {
        let about = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
        if is_file && about.st_uid == rustix::process::geteuid().as_raw() {
            Ok(about)
        } else {
            Err(ErrorKind::PermissionDenied.into())
        }
    }

    /// The space of the file system.
    pub(super) fn space(&self) -> io::Result<Space> {
        let about = rustix::fs::fstatvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
        let is_read_only = about.f_flag.contains(StatVfsMountFlags::RDONLY);
        Ok(Space { total: bytes(about.f_blocks), free: bytes(about.f_bavail), is_read_only })
    }

    /// Whether another program has removed the directory.
    pub(super) fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.0).is_ok_and(|about| about.st_nlink == 0)
    }
}

fn create(path: PathBuf) -> io::Result<OwnedFd> {
    create_directory(&path)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn open_at(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<File> {
    // A pipe of that name would block.
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}
