//! The files: each appears complete, and is checked when it is read.
//!
//! Decides nothing: which files to remove is `eviction`'s. Must never return a file that a crash left half
//! written: it does not match its digest, and counts as absent.

use super::content::{Content, Key};
use super::eviction::StoredFile;
use super::format::ContentHead;
use crate::files::private_file::create_directory;
use bytes::Bytes;
use docxy_protocol::limits::{FRAME_BYTES_MAX, MANIFEST_BYTES_MAX};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;

/// Maximum number of bytes of a file.
const FILE_BYTES_MAX: u64 = (MANIFEST_BYTES_MAX + FRAME_BYTES_MAX) as u64 + 4;

/// The last characters of the name of each entry's file, in hexadecimal digits. A temporary file has fewer.
const HASH_CHARACTERS: usize = 64;

/// A directory of entries.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) directory: PathBuf,
    /// Whether this process must not change the files.
    pub(super) is_read_only: bool,
}

impl Disk {
    /// The content with this key; `None` if there is none. A damaged file is removed.
    pub(super) fn read<H: ContentHead>(&self, key: &Key) -> Option<Content<H>> {
        let name = H::path(key);
        let path = self.directory.join(&name);
        let file = File::open(&path).ok()?;
        match parse(key, &file) {
            Some(content) => {
                if !self.is_read_only {
                    // The time of the last use decides which files are evicted after a restart.
                    let _ = file.set_modified(SystemTime::now());
                }
                Some(content)
            }
            None => {
                tracing::warn!(content = %key, "a stored file is damaged; it is removed");
                self.remove(&name);
                None
            }
        }
    }

    /// Writes a file, which appears complete.
    pub(super) fn write<H: ContentHead>(&self, key: &Key, content: &Content<H>) -> io::Result<StoredFile> {
        let name = H::path(key);
        let path = self.directory.join(&name);
        let head = content.head().encode(key)?;
        let directory = path.parent().unwrap_or(&self.directory);
        create_directory(directory)?;
        // `tempfile` creates it with mode 0600, whatever the umask.
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&head)?;
        file.write_all(content.bytes())?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(StoredFile { path: name.into(), bytes: head.len() + content.bytes().len() })
    }

    /// Removes a file. One that cannot be removed is listed at the next start.
    pub(super) fn remove(&self, name: &Path) -> bool {
        let is_removed = !self.is_read_only && fs::remove_file(self.directory.join(name)).is_ok();
        // The last file's directory is removed too, but not that of the store.
        let below = name.parent().filter(|parent| is_removed && !parent.as_os_str().is_empty());
        let _ = below.map(|parent| fs::remove_dir(self.directory.join(parent)));
        is_removed
    }

    /// All entries, the least recently used first. Removes what an interrupted write has left.
    pub(super) fn list(&self) -> Vec<StoredFile> {
        let mut found = Vec::new();
        for (path, about) in files(&self.directory) {
            let name = path.strip_prefix(&self.directory).unwrap_or(&path);
            if is_entry(name) {
                let file = StoredFile { path: name.into(), bytes: about.len() as usize };
                found.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), file));
            } else {
                // Another process may be writing it, and then keeps its content in memory only.
                self.remove(name);
            }
        }
        found.sort_by_key(|(used, _)| *used);
        found.into_iter().map(|(_, file)| file).collect()
    }
}

/// Removes entries, the least recently used first, to free so many bytes and files of a full disk. A running
/// program fetches them again. Returns whether there were any.
#[must_use]
pub fn remove_oldest(directory: PathBuf, bytes: usize, count: usize) -> bool {
    let disk = Disk { directory, is_read_only: false };
    let (mut freed, mut removed) = (0, 0);
    for file in disk.list() {
        if freed >= bytes && removed >= count {
            break;
        }
        if disk.remove(&file.path) {
            (freed, removed) = (freed + file.bytes, removed + 1);
        }
    }
    removed > 0
}

/// The files in a directory and in those directly below it. Another process may remove some at any time.
fn files(directory: &Path) -> Vec<(PathBuf, Metadata)> {
    let entries = |directory: &Path| {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(%error, directory = %directory.display(), "stored files cannot be listed");
                }
                return Vec::new();
            }
        };
        entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for (path, about) in entries(directory) {
        if about.is_dir() {
            found.extend(entries(&path).into_iter().filter(|(_, about)| about.is_file()));
        } else {
            found.push((path, about));
        }
    }
    found
}

fn is_entry(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let hash = name.len().checked_sub(HASH_CHARACTERS).and_then(|start| name.get(start..));
    hash.is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn parse<H: ContentHead>(key: &Key, file: &File) -> Option<Content<H>> {
    let length = file.metadata().ok()?.len();
    let mut content = Vec::new();
    if length <= FILE_BYTES_MAX {
        content.reserve_exact(usize::try_from(length).ok()?);
        io::Read::read_to_end(&mut &*file, &mut content).ok()?;
    }
    let (head, start) = H::decode(key, &content)?;
    Content::new(key.digest.clone(), head, Bytes::from(content).slice(start..)).ok()
}
