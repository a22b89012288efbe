//! Manifests that were paid for once: in memory what was used last, in files the rest.
//!
//! Holds only what the registry shows to everybody, and only bytes that hash to their name, which is
//! checked on the way in and again when they are read back. Who puts something in answers for the
//! former.

mod files;
mod lru;
mod manifest;

pub(crate) use lru::Lru;
pub(crate) use manifest::{Key, Manifest};

use docxy_protocol::name::{Registry, Repository};
use files::Files;
use manifest::RepositoryKey;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of manifests in memory: a thousand of the usual ones.
const IN_MEMORY: usize = 8 * 1024 * 1024;

/// What a manifest in memory counts beside its bytes and header fields.
const OVERHEAD: usize = 1024;

/// Bytes of manifests in files: more than a busy server meets in a year.
const IN_FILES: usize = 256 * 1024 * 1024;

/// Files take up whole blocks.
const BLOCK: usize = 4096;

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    files: Files,
    shelves: Arc<Mutex<Shelves>>,
}

#[derive(Debug)]
struct Shelves {
    memory: Lru<Key, Arc<Manifest>>,
    /// What has a file.
    files: Lru<Key, ()>,
    /// How many manifests of each repository have one.
    repositories: HashMap<RepositoryKey, usize>,
}

/// Gives up kept manifests, the oldest first, for somebody who needs so many bytes and files of their disk
/// more. A server that runs finds them gone, and fetches them again. Whether there were any.
pub(crate) fn give_up(directory: PathBuf, bytes: u64, count: usize) -> bool {
    Files::new(directory).give_up(bytes, count)
}

impl Store {
    /// Opens the store in this folder, which need not be there. One that cannot be read is begun anew.
    pub(crate) fn open(directory: PathBuf) -> Self {
        Self::with_bounds(directory, IN_MEMORY, IN_FILES)
    }

    /// The same for somebody who only looks: the files are another process's to change.
    pub(crate) fn read_only(directory: PathBuf) -> Self {
        Self::of(Files::read_only(directory), IN_MEMORY, usize::MAX)
    }

    fn with_bounds(directory: PathBuf, in_memory: usize, in_files: usize) -> Self {
        Self::of(Files::new(directory), in_memory, in_files)
    }

    fn of(files: Files, in_memory: usize, in_files: usize) -> Self {
        let mut shelves =
            Shelves { memory: Lru::new(in_memory), files: Lru::new(in_files), repositories: HashMap::new() };
        let found = files.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "the manifests kept by an earlier run cannot be read");
            Vec::new()
        });
        for (key, size) in found {
            for gone in shelves.has_file(key, size) {
                files.remove(&gone);
            }
        }
        Self { files, shelves: Arc::new(Mutex::new(shelves)) }
    }

    /// Whether anything of this repository is kept.
    pub(crate) fn knows(&self, registry: &Registry, repository: &Repository) -> bool {
        let (wanted, shelves) = (RepositoryKey::new(registry, repository), self.lock());
        // Where the disk is full, memory has what no file has.
        shelves.repositories.contains_key(&wanted)
            || shelves.memory.keys().any(|key| key.repository == wanted)
    }

    /// A manifest, if it is kept.
    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<Manifest>> {
        {
            let mut shelves = self.lock();
            if let Some(manifest) = shelves.memory.get(key) {
                return Some(Arc::clone(manifest));
            }
            shelves.files.get(key)?;
        }
        let (files, wanted) = (self.files.clone(), key.clone());
        let read = tokio::task::spawn_blocking(move || files.read(&wanted)).await;
        let Some(manifest) = read.ok().flatten() else {
            tracing::warn!(digest = %key.digest, "a kept manifest is gone or damaged");
            self.lock().forget(key);
            self.files.remove(key);
            return None;
        };
        let manifest = Arc::new(manifest);
        self.remember(key, &manifest);
        Some(manifest)
    }

    /// Keeps a manifest, in memory at least.
    pub(crate) async fn put(&self, key: &Key, manifest: &Arc<Manifest>) {
        self.remember(key, manifest);
        if self.files.is_read_only() {
            return;
        }
        let (files, name, content) = (self.files.clone(), key.clone(), Arc::clone(manifest));
        let written = tokio::task::spawn_blocking(move || files.write(&name, &content)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(size) => {
                let gone = self.lock().has_file(key.clone(), size);
                for key in gone {
                    self.files.remove(&key);
                }
            }
            Err(error) => tracing::warn!(%error, "a manifest cannot be kept over a restart"),
        }
    }

    fn remember(&self, key: &Key, manifest: &Arc<Manifest>) {
        let size = manifest.bytes.len() + manifest.headers.size() + OVERHEAD;
        self.lock().memory.insert(key.clone(), Arc::clone(manifest), size);
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    /// Counts a file; returns those that have to go for it.
    fn has_file(&mut self, key: Key, size: usize) -> Vec<Key> {
        if !self.files.contains(&key) {
            *self.repositories.entry(key.repository.clone()).or_default() += 1;
        }
        let gone = self.files.insert(key, (), size.next_multiple_of(BLOCK));
        let gone: Vec<Key> = gone.into_iter().map(|(key, ())| key).collect();
        for key in &gone {
            self.uncount(&key.repository);
        }
        gone
    }

    fn forget(&mut self, key: &Key) {
        self.memory.remove(key);
        if self.files.remove(key).is_some() {
            self.uncount(&key.repository);
        }
    }

    fn uncount(&mut self, repository: &RepositoryKey) {
        if let Some(count) = self.repositories.get_mut(repository) {
            *count -= 1;
            if *count == 0 {
                self.repositories.remove(repository);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use docxy_protocol::digester::Digester;
    use docxy_protocol::headers::Headers;
    use http::{HeaderValue, header};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    fn manifest(text: &str) -> (Key, Arc<Manifest>) {
        let digest = Digester::sha256().of(text.as_bytes());
        let mut headers = Headers::default();
        headers.set(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let manifest = Manifest::new(digest.clone(), headers, bytes).unwrap();
        (key("library/a", digest), Arc::new(manifest))
    }

    fn key(repository: &str, digest: docxy_protocol::name::Digest) -> Key {
        Key::new(&Registry::docker_hub(), &repository.parse().unwrap(), digest)
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let folders = directory.read_dir().unwrap();
        let files = folders.flat_map(|folder| folder.unwrap().path().read_dir().unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn what_was_put_in_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (key, manifest) = manifest("hello");
        let store = Store::open(dir.path().join("manifests"));
        assert!(store.get(&key).await.is_none());
        store.put(&key, &manifest).await;
        for store in [store, Store::open(dir.path().join("manifests"))] {
            let kept = store.get(&key).await.unwrap();
            assert_eq!((&kept.bytes, kept.content_type()), (&manifest.bytes, Some("a/b")));
            assert!(store.knows(&Registry::docker_hub(), &"library/a".parse().unwrap()));
        }
        let [file] = &files(&dir.path().join("manifests"))[..] else { panic!() };
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn who_only_looks_sees_all_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (manifest("old"), manifest("new"));
        Store::open(dir.path().to_owned()).put(&old.0, &old.1).await;
        let before = files(dir.path());
        std::fs::write(before[0].with_file_name("half-written"), "x").unwrap();
        let store = Store::read_only(dir.path().to_owned());
        assert!(store.get(&old.0).await.is_some());
        store.put(&new.0, &new.1).await;
        assert!(store.get(&new.0).await.is_some());
        assert_eq!(files(dir.path()).len(), before.len() + 1);
        assert!(Store::open(dir.path().to_owned()).get(&new.0).await.is_none());
        assert_eq!(files(dir.path()), before, "whoever may write has tidied up");
    }

    #[tokio::test]
    async fn one_repositorys_manifest_is_not_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let (own, manifest) = manifest("hello");
        let store = Store::open(dir.path().to_owned());
        store.put(&own, &manifest).await;
        assert!(store.get(&key("library/b", own.digest.clone())).await.is_none());
        assert!(!store.knows(&Registry::docker_hub(), &"library/b".parse().unwrap()));
        assert!(!store.knows(&"ghcr.io".parse().unwrap(), &"library/a".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_file_that_was_tampered_with_is_no_manifest_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let (key, manifest) = manifest("hello");
        Store::open(dir.path().to_owned()).put(&key, &manifest).await;
        let [file] = &files(dir.path())[..] else { panic!() };
        let mut content = std::fs::read(file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        std::fs::write(file, content).unwrap();
        let store = Store::open(dir.path().to_owned());
        assert!(store.get(&key).await.is_none());
        assert!(!file.exists() && !store.knows(&Registry::docker_hub(), &"library/a".parse().unwrap()));
    }

    #[tokio::test]
    async fn memory_and_files_are_bounded_and_what_was_used_last_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::with_bounds(dir.path().to_owned(), 3 * OVERHEAD, 4 * BLOCK);
        let all: Vec<_> = (0..10).map(|n| manifest(&format!("manifest {n}"))).collect();
        for (key, manifest) in &all {
            store.put(key, manifest).await;
        }
        assert_eq!(files(dir.path()).len(), 4);
        for store in [store, Store::with_bounds(dir.path().to_owned(), 0, 2 * BLOCK)] {
            assert!(store.get(&all[0].0).await.is_none());
            assert!(store.get(&all[9].0).await.is_some());
        }
        assert_eq!(files(dir.path()).len(), 2);
    }

    #[tokio::test]
    async fn manifests_are_given_up_the_oldest_first_and_a_store_that_runs_gets_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::with_bounds(dir.path().to_owned(), 0, IN_FILES);
        let all: Vec<_> = (0..10).map(|n| manifest(&format!("manifest {n}"))).collect();
        for (n, (key, manifest)) in all.iter().enumerate() {
            store.put(key, manifest).await;
            let path = store.files.path(key);
            let written = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64);
            std::fs::File::open(path).unwrap().set_modified(written).unwrap();
        }
        assert!(give_up(dir.path().to_owned(), 1, 3));
        assert_eq!(files(dir.path()).len(), 7);
        assert!(store.get(&all[2].0).await.is_none() && store.get(&all[3].0).await.is_some());
        assert!(give_up(dir.path().to_owned(), u64::MAX, 0));
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(!give_up(dir.path().to_owned(), 1, 1));
        assert!(store.get(&all[9].0).await.is_none());
        store.put(&all[9].0, &all[9].1).await;
        assert!(store.get(&all[9].0).await.is_some());
    }

    #[test]
    fn other_bytes_are_refused() {
        let digest = Digester::sha256().of(b"a");
        let error = Manifest::new(digest, Headers::default(), Bytes::from_static(b"b")).unwrap_err();
        assert!(error.to_string().starts_with("what should be sha256:ca978112"), "{error}");
    }
}
