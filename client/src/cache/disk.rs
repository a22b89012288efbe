//! Public content on disk: small, found by digest, and kept as long as there is room.
//!
//! A damaged file counts as absent and is removed. Losing everything costs a few round trips and some pulls
//! of the rate limit.

use super::entry::{CacheEntry, CacheKey};
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::prefetch::ContentKind;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tempfile::NamedTempFile;

/// The most bytes, counted in blocks: some ten thousand manifests.
const CAPACITY_BYTES: u64 = 64 * 1024 * 1024;

/// The smallest space of a file.
const BLOCK_BYTES: u64 = 4096;

/// The most bytes of the first line of a file.
const HEADER_BYTES_MAX: usize = 2048;

/// A directory with a file for each entry.
#[derive(Debug)]
pub(super) struct DiskCache {
    directory: PathBuf,
    /// The bytes in it, after they were counted once.
    bytes: Mutex<Option<u64>>,
}

/// The first line of a file; the content follows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileHeader {
    /// The repository and the digest.
    key: String,
    /// Of a manifest.
    media_type: Option<String>,
}

impl DiskCache {
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self { directory, bytes: Mutex::new(None) }
    }

    /// The entry with this key.
    pub(super) fn read(&self, key: &CacheKey) -> Option<CacheEntry> {
        let path = self.path(key);
        let longest = (HEADER_BYTES_MAX + MANIFEST_MAX) as u64;
        let content = if path.metadata().ok()?.len() <= longest { fs::read(&path).ok()? } else { Vec::new() };
        match parse(key, &content) {
            Some(entry) => {
                // The time of the last use decides which files are evicted.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(entry)
            }
            None => {
                tracing::debug!(file = %path.display(), "removing a damaged cache file");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Stores an entry, and makes room for it.
    pub(super) fn write(&self, key: &CacheKey, entry: &CacheEntry) {
        if let Err(error) = self.try_write(key, entry) {
            tracing::debug!(directory = %self.directory.display(), %error, "cannot write to the cache");
        }
    }

    fn try_write(&self, key: &CacheKey, entry: &CacheEntry) -> io::Result<()> {
        let media_type = match entry.content() {
            ContentKind::Manifest { content_type } => Some(content_type.clone()),
            ContentKind::Blob => None,
        };
        let mut header = serde_json::to_vec(&FileHeader { key: key.to_string(), media_type })?;
        header.push(b'\n');
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        // The file appears complete. No sync: a file that a crash truncates is detected as damaged.
        let mut file = NamedTempFile::new_in(&self.directory)?;
        file.write_all(&header)?;
        file.write_all(entry.bytes())?;
        let added = blocks(file.as_file().metadata()?.len());
        file.persist(self.path(key))?;
        self.make_room(added)
    }

    /// Removes the least recently used files if the directory is too large.
    fn make_room(&self, added: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes = Some(match *bytes {
            Some(before) if before + added <= CAPACITY_BYTES => before + added,
            _ => evict(&self.directory, CAPACITY_BYTES)?,
        });
        Ok(())
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.directory.join(Digester::sha256().digest(key.to_string().as_bytes()).hex())
    }
}

/// Counts the bytes in a directory. If they are more than `capacity`, removes files down to three quarters of
/// it.
fn evict(directory: &Path, capacity: u64) -> io::Result<u64> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Another process may remove files as well.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified()?, blocks(metadata.len()), entry.path()));
    }
    files.sort();
    let mut bytes = files.iter().map(|(_, bytes, _)| bytes).sum();
    let goal = if bytes > capacity { capacity / 4 * 3 } else { capacity };
    for (_, size, path) in files {
        if bytes <= goal {
            break;
        }
        fs::remove_file(path)?;
        bytes -= size;
    }
    Ok(bytes)
}

fn parse(key: &CacheKey, file: &[u8]) -> Option<CacheEntry> {
    let end = file.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let (header, content) = (serde_json::from_slice::<FileHeader>(&file[..end]).ok()?, &file[end + 1..]);
    let kind = match header.media_type {
        Some(content_type) => ContentKind::Manifest { content_type },
        None => ContentKind::Blob,
    };
    let right = header.key == key.to_string();
    right.then(|| CacheEntry::check(key.digest.clone(), kind, Bytes::copy_from_slice(content)).ok()).flatten()
}

fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{blob, key, manifest};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    #[test]
    fn an_entry_is_there_after_a_restart_for_its_repository_only() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("new/content");
        let entry = manifest("application/vnd.oci.image.index.v1+json", b"{\n}");
        let (here, elsewhere) = (key("docker.io", "a/b", &entry), key("docker.io", "a/c", &entry));
        DiskCache::new(directory.clone()).write(&here, &entry);
        let disk = DiskCache::new(directory.clone());
        assert_eq!(disk.read(&here), Some(entry));
        assert_eq!(disk.read(&elsewhere), None);
        // A file with the name of another key is not accepted.
        fs::copy(disk.path(&here), disk.path(&elsewhere)).unwrap();
        assert_eq!(disk.read(&elsewhere), None);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&disk.path(&here))), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskCache::new(dir.path().to_owned());
        let entry = blob(b"config");
        let key = key("docker.io", "a/b", &entry);
        let path = disk.path(&key);
        disk.write(&key, &entry);
        let whole = fs::read(&path).unwrap();
        let mut wrong = whole.clone();
        *wrong.last_mut().unwrap() ^= 1;
        for damaged in
            [&whole[..whole.len() - 1], &wrong, b"", b"\n", &[b' '; HEADER_BYTES_MAX * 2], b"{}\nconfig"]
        {
            fs::write(&path, damaged).unwrap();
            assert_eq!(disk.read(&key), None);
            assert!(!path.exists());
        }
        disk.write(&key, &entry);
        assert_eq!(disk.read(&key), Some(entry));
    }

    #[test]
    fn the_least_recently_used_files_are_evicted() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskCache::new(dir.path().to_owned());
        let now = SystemTime::now();
        let all: Vec<_> =
            (0..8_u8).map(|n| blob(&[n])).map(|entry| (key("docker.io", "a", &entry), entry)).collect();
        for (n, (key, entry)) in all.iter().enumerate() {
            disk.write(key, entry);
            let file = File::open(disk.path(key)).unwrap();
            file.set_modified(now - Duration::from_secs(100 - n as u64)).unwrap();
        }
        assert!(disk.read(&all[0].0).is_some(), "it is used");
        assert_eq!(evict(dir.path(), 8 * BLOCK_BYTES).unwrap(), 8 * BLOCK_BYTES);
        assert_eq!(evict(dir.path(), 7 * BLOCK_BYTES).unwrap(), 5 * BLOCK_BYTES);
        let left: Vec<_> = all.iter().map(|(key, _)| disk.path(key).exists()).collect();
        assert_eq!(left, [true, false, false, false, true, true, true, true]);
    }
}
