//! Stores public manifests, so that each is fetched once: the last used ones in memory, all in files.
//!
//! Must never hold a private manifest, for which the caller is responsible, or bytes that don't match their
//! digest, which is checked when a manifest is made and when its file is read.

mod files;
mod lru;
mod manifest;

pub(crate) use lru::Lru;
pub(crate) use manifest::{Key, StoredManifest};

use docxy_protocol::name::{Registry, Repository};
use files::Files;
use manifest::RepositoryKey;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of manifests in memory: about 1,000 manifests of usual size.
const MEMORY_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The bytes that a manifest in memory counts besides its bytes and header fields.
const MEMORY_OVERHEAD_BYTES: usize = 1024;

/// The most bytes of manifests in files: more than a busy server fetches in a year.
const FILES_MAX_BYTES: usize = 256 * 1024 * 1024;

/// The unit of disk space that files use.
const DISK_BLOCK_BYTES: usize = 4096;

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    files: Files,
    index: Arc<Mutex<Index>>,
}

#[derive(Debug)]
struct Index {
    memory: Lru<Key, Arc<StoredManifest>>,
    /// The manifests that have a file.
    files: Lru<Key, ()>,
    /// The number of files for each repository.
    repositories: HashMap<RepositoryKey, usize>,
}

/// Removes stored manifests, the oldest first, to free so many bytes and files of a full disk. A running server
/// fetches them again. Returns whether there were any.
pub(crate) fn remove_oldest(directory: PathBuf, bytes: u64, count: usize) -> bool {
    Files::new(directory).remove_oldest(bytes, count)
}

impl Store {
    /// Opens the store in this directory, which may not exist yet. If it cannot be read, the store is empty.
    pub(crate) fn open(directory: PathBuf) -> Self {
        Self::with_bounds(directory, MEMORY_MAX_BYTES, FILES_MAX_BYTES)
    }

    /// The same for a process that must not change the files.
    pub(crate) fn read_only(directory: PathBuf) -> Self {
        Self::of(Files::read_only(directory), MEMORY_MAX_BYTES, usize::MAX)
    }

    fn with_bounds(directory: PathBuf, in_memory: usize, in_files: usize) -> Self {
        Self::of(Files::new(directory), in_memory, in_files)
    }

    fn of(files: Files, in_memory: usize, in_files: usize) -> Self {
        let mut index =
            Index { memory: Lru::new(in_memory), files: Lru::new(in_files), repositories: HashMap::new() };
        let found = files.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "the stored manifests cannot be read");
            Vec::new()
        });
        for (key, size) in found {
            for evicted in index.add_file(key, size) {
                files.remove(&evicted);
            }
        }
        Self { files, index: Arc::new(Mutex::new(index)) }
    }

    /// Whether any manifest of this repository is stored.
    pub(crate) fn may_contain(&self, registry: &Registry, repository: &Repository) -> bool {
        let (repository_key, index) = (RepositoryKey::new(registry, repository), self.lock());
        // With a full disk, a manifest may be in memory only.
        index.repositories.contains_key(&repository_key)
            || index.memory.keys().any(|key| key.repository == repository_key)
    }

    /// A manifest, if it is stored.
    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<StoredManifest>> {
        {
            let mut index = self.lock();
            if let Some(manifest) = index.memory.get(key) {
                return Some(Arc::clone(manifest));
            }
            index.files.get(key)?;
        }
        let (files, owned_key) = (self.files.clone(), key.clone());
        let read = tokio::task::spawn_blocking(move || files.read(&owned_key)).await;
        let Some(manifest) = read.ok().flatten() else {
            tracing::warn!(digest = %key.digest, "a stored manifest is missing or damaged");
            self.lock().forget(key);
            self.files.remove(key);
            return None;
        };
        let manifest = Arc::new(manifest);
        self.insert_in_memory(key, &manifest);
        Some(manifest)
    }

    /// Stores a manifest, at least in memory.
    pub(crate) async fn put(&self, key: &Key, manifest: &Arc<StoredManifest>) {
        self.insert_in_memory(key, manifest);
        if self.files.is_read_only() {
            return;
        }
        let (files, name, content) = (self.files.clone(), key.clone(), Arc::clone(manifest));
        let written = tokio::task::spawn_blocking(move || files.write(&name, &content)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(size) => {
                let evicted = self.lock().add_file(key.clone(), size);
                for key in evicted {
                    self.files.remove(&key);
                }
            }
            Err(error) => tracing::warn!(%error, "a manifest cannot be written to the disk"),
        }
    }

    fn insert_in_memory(&self, key: &Key, manifest: &Arc<StoredManifest>) {
        let size = manifest.bytes.len() + manifest.headers.size() + MEMORY_OVERHEAD_BYTES;
        self.lock().memory.insert(key.clone(), Arc::clone(manifest), size);
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Adds a file. Returns the keys of the evicted files.
    fn add_file(&mut self, key: Key, size: usize) -> Vec<Key> {
        if !self.files.contains(&key) {
            *self.repositories.entry(key.repository.clone()).or_default() += 1;
        }
        let evicted = self.files.insert(key, (), size.next_multiple_of(DISK_BLOCK_BYTES));
        let evicted: Vec<Key> = evicted.into_iter().map(|(key, ())| key).collect();
        for key in &evicted {
            self.uncount(&key.repository);
        }
        evicted
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

    fn manifest(text: &str) -> (Key, Arc<StoredManifest>) {
        let digest = Digester::sha256().digest(text.as_bytes());
        let mut headers = Headers::default();
        headers.set(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let manifest = StoredManifest::new(digest.clone(), headers, bytes).unwrap();
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
    async fn stored_manifests_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (key, manifest) = manifest("hello");
        let store = Store::open(dir.path().join("manifests"));
        assert!(store.get(&key).await.is_none());
        store.put(&key, &manifest).await;
        for store in [store, Store::open(dir.path().join("manifests"))] {
            let kept = store.get(&key).await.unwrap();
            assert_eq!((&kept.bytes, kept.content_type()), (&manifest.bytes, Some("a/b")));
            assert!(store.may_contain(&Registry::docker_hub(), &"library/a".parse().unwrap()));
        }
        let [file] = &files(&dir.path().join("manifests"))[..] else { panic!() };
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_read_only_store_reads_all_and_changes_nothing() {
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
        assert!(!store.may_contain(&Registry::docker_hub(), &"library/b".parse().unwrap()));
        assert!(!store.may_contain(&"ghcr.io".parse().unwrap(), &"library/a".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_modified_file_is_not_returned() {
        let dir = tempfile::tempdir().unwrap();
        let (key, manifest) = manifest("hello");
        Store::open(dir.path().to_owned()).put(&key, &manifest).await;
        let [file] = &files(dir.path())[..] else { panic!() };
        let mut content = std::fs::read(file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        std::fs::write(file, content).unwrap();
        let store = Store::open(dir.path().to_owned());
        assert!(store.get(&key).await.is_none());
        assert!(!file.exists() && !store.may_contain(&Registry::docker_hub(), &"library/a".parse().unwrap()));
    }

    #[tokio::test]
    async fn memory_and_files_are_bounded_and_the_last_used_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::with_bounds(dir.path().to_owned(), 3 * MEMORY_OVERHEAD_BYTES, 4 * DISK_BLOCK_BYTES);
        let all: Vec<_> = (0..10).map(|n| manifest(&format!("manifest {n}"))).collect();
        for (key, manifest) in &all {
            store.put(key, manifest).await;
        }
        assert_eq!(files(dir.path()).len(), 4);
        for store in [store, Store::with_bounds(dir.path().to_owned(), 0, 2 * DISK_BLOCK_BYTES)] {
            assert!(store.get(&all[0].0).await.is_none());
            assert!(store.get(&all[9].0).await.is_some());
        }
        assert_eq!(files(dir.path()).len(), 2);
    }

    #[tokio::test]
    async fn the_oldest_manifests_are_removed_and_a_running_store_recovers() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::with_bounds(dir.path().to_owned(), 0, FILES_MAX_BYTES);
        let all: Vec<_> = (0..10).map(|n| manifest(&format!("manifest {n}"))).collect();
        for (n, (key, manifest)) in all.iter().enumerate() {
            store.put(key, manifest).await;
            let path = store.files.path(key);
            let written = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64);
            std::fs::File::open(path).unwrap().set_modified(written).unwrap();
        }
        assert!(remove_oldest(dir.path().to_owned(), 1, 3));
        assert_eq!(files(dir.path()).len(), 7);
        assert!(store.get(&all[2].0).await.is_none() && store.get(&all[3].0).await.is_some());
        assert!(remove_oldest(dir.path().to_owned(), u64::MAX, 0));
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(!remove_oldest(dir.path().to_owned(), 1, 1));
        assert!(store.get(&all[9].0).await.is_none());
        store.put(&all[9].0, &all[9].1).await;
        assert!(store.get(&all[9].0).await.is_some());
    }

    #[test]
    fn other_bytes_are_refused() {
        let digest = Digester::sha256().digest(b"a");
        let error = StoredManifest::new(digest, Headers::default(), Bytes::from_static(b"b")).unwrap_err();
        assert!(error.to_string().starts_with("the digest should be sha256:ca978112"), "{error}");
    }
}
