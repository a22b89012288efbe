//! The files behind the store: `REPOSITORY/DIGEST`, each what the registry said of a manifest, as a
//! frame, and its bytes.
//!
//! They are worth nothing but the quota to fetch them again, so nothing is flushed; what a crash
//! leaves half written doesn't hash to its name, and is removed when it is read.

use super::manifest::{Key, Manifest, RepositoryKey};
use bytes::Bytes;
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;

/// A folder of manifests.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    is_read_only: bool,
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, is_read_only: false }
    }

    /// The same for somebody whose files they aren't.
    pub(super) fn read_only(directory: PathBuf) -> Self {
        Self { directory, is_read_only: true }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// What is there, with its size in bytes, the oldest first. Removes what isn't ours.
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
                    // What was being written when a server ended.
                    Err(_) if self.is_read_only => {}
                    Err(_) => fs::remove_file(file.path())?,
                }
            }
        }
        found.sort_by_key(|(written, ..)| *written);
        Ok(found.into_iter().map(|(_, key, size)| (key, size)).collect())
    }

    /// A manifest; `None` if it is not there, or not what it should be.
    pub(super) fn read(&self, key: &Key) -> Option<Manifest> {
        let content = Bytes::from(fs::read(self.path(key)).ok()?);
        let (headers, start) = frame::split::<Headers>(&content).ok()?;
        Manifest::new(key.digest.clone(), headers, content.slice(start..)).ok()
    }

    /// Keeps a manifest; returns its size in bytes.
    pub(super) fn write(&self, key: &Key, manifest: &Manifest) -> io::Result<usize> {
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
        // What cannot be removed is found by the next start. A folder goes with its last file.
        let _ = fs::remove_file(&path);
        let _ = path.parent().map(fs::remove_dir);
    }

    /// Removes the oldest files until so many bytes are free, and so many files fewer. Whether there was
    /// any.
    pub(super) fn give_up(&self, bytes: u64, count: usize) -> bool {
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
            // A folder goes with its last file.
            let _ = path.parent().map(fs::remove_dir);
        }
        removed > 0
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(&key.repository.0).join(key.digest.as_str().replacen(':', "-", 1))
    }
}
