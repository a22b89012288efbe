//! Public content on disk: small, by digest, and for good, as far as there is room.
//!
//! A file that isn't what it should be counts as absent, and goes. Losing all of it costs a few
//! round trips and some of the registries' quota.

use super::kept::{Kept, Key};
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

/// Bytes at most, counted in blocks: those of some ten thousand manifests.
const MOST: u64 = 64 * 1024 * 1024;

/// What a file takes at least.
const BLOCK: u64 = 4096;

/// Most bytes of a file's first line.
const MAX_HEAD: usize = 2048;

/// A directory of such files.
#[derive(Debug)]
pub(super) struct Shelf {
    directory: PathBuf,
    /// Bytes in it, once they have been counted.
    bytes: Mutex<Option<u64>>,
}

/// The first line of a file; the content follows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// Which content of which repository.
    key: String,
    /// A manifest's.
    media_type: Option<String>,
}

impl Shelf {
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self { directory, bytes: Mutex::new(None) }
    }

    /// What is kept under this key.
    pub(super) fn read(&self, key: &Key) -> Option<Kept> {
        let path = self.path(key);
        let longest = (MAX_HEAD + MANIFEST_MAX) as u64;
        let content = if path.metadata().ok()?.len() <= longest { fs::read(&path).ok()? } else { Vec::new() };
        match parse(key, &content) {
            Some(kept) => {
                // So that what is in use stays.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(kept)
            }
            None => {
                tracing::debug!(file = %path.display(), "a damaged file in the cache; it goes");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps content, and makes room for it.
    pub(super) fn write(&self, key: &Key, kept: &Kept) {
        if let Err(error) = self.try_write(key, kept) {
            tracing::debug!(directory = %self.directory.display(), %error, "cannot keep what was fetched");
        }
    }

    fn try_write(&self, key: &Key, kept: &Kept) -> io::Result<()> {
        let media_type = match kept.content() {
            ContentKind::Manifest { content_type } => Some(content_type.clone()),
            ContentKind::Blob => None,
        };
        let mut head = serde_json::to_vec(&Head { key: key.to_string(), media_type })?;
        head.push(b'\n');
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        // In one step, and without waiting for the disk: half a file is a damaged one.
        let mut file = NamedTempFile::new_in(&self.directory)?;
        file.write_all(&head)?;
        file.write_all(kept.bytes())?;
        let added = blocks(file.as_file().metadata()?.len());
        file.persist(self.path(key))?;
        self.make_room(added)
    }

    /// Removes what was used longest ago, where there is too much.
    fn make_room(&self, added: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes = Some(match *bytes {
            Some(before) if before + added <= MOST => before + added,
            _ => tidy(&self.directory, MOST)?,
        });
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(Digester::sha256().digest(key.to_string().as_bytes()).hex())
    }
}

/// Counts the bytes in a directory, and makes that three quarters of `most` where it is more.
fn tidy(directory: &Path, most: u64) -> io::Result<u64> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Another process may be tidying up as well.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified()?, blocks(metadata.len()), entry.path()));
    }
    files.sort();
    let mut bytes = files.iter().map(|(_, bytes, _)| bytes).sum();
    let goal = if bytes > most { most / 4 * 3 } else { most };
    for (_, size, path) in files {
        if bytes <= goal {
            break;
        }
        fs::remove_file(path)?;
        bytes -= size;
    }
    Ok(bytes)
}

fn parse(key: &Key, file: &[u8]) -> Option<Kept> {
    let end = file.iter().take(MAX_HEAD).position(|byte| *byte == b'\n')?;
    let (head, content) = (serde_json::from_slice::<Head>(&file[..end]).ok()?, &file[end + 1..]);
    let kind = match head.media_type {
        Some(content_type) => ContentKind::Manifest { content_type },
        None => ContentKind::Blob,
    };
    let right = head.key == key.to_string();
    right.then(|| Kept::check(key.digest.clone(), kind, Bytes::copy_from_slice(content)).ok()).flatten()
}

fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{blob, key, manifest};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_for_its_repository_alone() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("new/content");
        let kept = manifest("application/vnd.oci.image.index.v1+json", b"{\n}");
        let (here, elsewhere) = (key("docker.io", "a/b", &kept), key("docker.io", "a/c", &kept));
        Shelf::new(directory.clone()).write(&here, &kept);
        let shelf = Shelf::new(directory.clone());
        assert_eq!(shelf.read(&here), Some(kept));
        assert_eq!(shelf.read(&elsewhere), None);
        // A file in another's place opens nothing.
        fs::copy(shelf.path(&here), shelf.path(&elsewhere)).unwrap();
        assert_eq!(shelf.read(&elsewhere), None);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&shelf.path(&here))), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().to_owned());
        let kept = blob(b"config");
        let key = key("docker.io", "a/b", &kept);
        let path = shelf.path(&key);
        shelf.write(&key, &kept);
        let whole = fs::read(&path).unwrap();
        let mut wrong = whole.clone();
        *wrong.last_mut().unwrap() ^= 1;
        for damaged in [&whole[..whole.len() - 1], &wrong, b"", b"\n", &[b' '; MAX_HEAD * 2], b"{}\nconfig"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(shelf.read(&key), None);
            assert!(!path.exists());
        }
        shelf.write(&key, &kept);
        assert_eq!(shelf.read(&key), Some(kept));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().to_owned());
        let now = SystemTime::now();
        let all: Vec<_> =
            (0..8_u8).map(|n| blob(&[n])).map(|kept| (key("docker.io", "a", &kept), kept)).collect();
        for (n, (key, kept)) in all.iter().enumerate() {
            shelf.write(key, kept);
            let file = File::open(shelf.path(key)).unwrap();
            file.set_modified(now - Duration::from_secs(100 - n as u64)).unwrap();
        }
        assert!(shelf.read(&all[0].0).is_some(), "it is in use");
        assert_eq!(tidy(dir.path(), 8 * BLOCK).unwrap(), 8 * BLOCK);
        assert_eq!(tidy(dir.path(), 7 * BLOCK).unwrap(), 5 * BLOCK);
        let left: Vec<_> = all.iter().map(|(key, _)| shelf.path(key).exists()).collect();
        assert_eq!(left, [true, false, false, false, true, true, true, true]);
    }
}
