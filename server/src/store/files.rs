//! The files of the store: `REPOSITORY/DIGEST`, each with a manifest's header fields, as a frame, and its
//! bytes.
//!
//! They only save the quota to fetch them again, so they are not flushed. Must never return a file that a
//! crash left half written: it doesn't match its digest, and is removed when it is read.

use super::manifest::{Key, RepositoryKey, StoredManifest};
use bytes::Bytes;
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;

/// A directory of manifests.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    is_read_only: bool,
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, is_read_only: false }
    }

    /// The same for a process that must not change the files.
    pub(super) fn read_only(directory: PathBuf) -> Self {
        Self { directory, is_read_only: true }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// The stored manifests with their sizes in bytes, the oldest first. Removes other files.
    pub(super) fn list(&self) -> io::Result<Vec<(Key, usize)>> {
        let mut found = Vec::new();
        let repositories = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        for repository in repositories {
            let repository = repository?;
            let name = RepositoryKey(repository.file_name().to_string_lossy().into_owned());
            for file in fs::read_dir(repository.path())? {
                let file = file?;
                match file.file_name().to_string_lossy().replacen('-', ":", 1).parse() {
                    Ok(digest) => {
                        let about = file.metadata()?;
                        let written = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                        let key = Key { repository: name.clone(), digest };
                        found.push((written, key, about.len() as usize));
                    }
                    // A file that was being written when the server ended.
                    Err(_) if self.is_read_only => {}
                    Err(_) => fs::remove_file(file.path())?,
                }
            }
        }
        found.sort_by_key(|(written, ..)| *written);
        Ok(found.into_iter().map(|(_, key, size)| (key, size)).collect())
    }

    /// A manifest; `None` if there is no file, or it doesn't match its digest.
    pub(super) fn read(&self, key: &Key) -> Option<StoredManifest> {
        let content = Bytes::from(fs::read(self.path(key)).ok()?);
        let (headers, start) = frame::decode_prefix::<Headers>(&content).ok()?;
        StoredManifest::new(key.digest.clone(), headers, content.slice(start..)).ok()
    }

    /// Writes a manifest. Returns the size of its file in bytes.
    pub(super) fn write(&self, key: &Key, manifest: &StoredManifest) -> io::Result<usize> {
        let path = self.path(key);
        let directory = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let head = frame::encode(&manifest.headers).map_err(io::Error::other)?;
        // The crate opens it with mode 0600, whatever the umask.
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&head)?;
        file.write_all(&manifest.bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(head.len() + manifest.bytes.len())
    }

    pub(super) fn remove(&self, key: &Key) {
        if self.is_read_only {
            return;
        }
        let path = self.path(key);
        // A file that cannot be removed is found at the next start. The last file's directory is removed too.
        let _ = fs::remove_file(&path);
        let _ = path.parent().map(fs::remove_dir);
    }

    /// Removes the oldest files, until so many bytes and so many files are removed. Returns whether any was.
    pub(super) fn remove_oldest(&self, bytes: u64, count: usize) -> bool {
        let folders = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
        let mut files: Vec<_> = files
            .filter_map(|file| {
                let about = file.metadata().ok()?;
                Some((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), file.path()))
            })
            .collect();
        files.sort();
        let (mut freed, mut removed) = (0, 0);
        for (_, length, path) in files {
            if freed >= bytes && removed >= count {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                (freed, removed) = (freed + length, removed + 1);
            }
            // The last file's directory is removed too.
            let _ = path.parent().map(fs::remove_dir);
        }
        removed > 0
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(&key.repository.0).join(key.digest.as_str().replacen(':', "-", 1))
    }
}
