//! The store: memory in front of the files.

use super::content::{Content, Key};
use super::disk::Disk;
use super::eviction::Eviction;
use super::format::ContentHead;
use super::memory::{Limits, Memory};
use super::scope::Scope;
use crate::log_rate_limit::LogLimits;
use docxy_protocol::headers::Headers;
use parking_lot::{Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store<H>(Arc<Parts<H>>);

/// How much is in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Their number.
    pub files: usize,
    /// The disk space that they use.
    pub bytes: usize,
    /// How much they may use.
    pub bytes_max: usize,
}

#[derive(Debug)]
struct Parts<H> {
    memory: Mutex<Memory<H>>,
    disk: Option<Disk>,
    disk_bytes: usize,
    /// Filled before the first file is added, because this lists all files.
    eviction: Mutex<Option<Eviction>>,
    /// A full disk fails every write.
    write_log_limit: LogLimits<()>,
}

impl<H: ContentHead> Store<H> {
    /// A store with the files of this directory, if there is one. Reads nothing yet.
    #[must_use]
    pub fn open(directory: Option<PathBuf>, limits: Limits) -> Self {
        Self::new(directory.map(|directory| Disk { directory, is_read_only: false }), limits)
    }

    /// The same for a process that must not change the files.
    #[must_use]
    pub fn read_only(directory: PathBuf, limits: Limits) -> Self {
        Self::new(Some(Disk { directory, is_read_only: true }), limits)
    }

    fn new(disk: Option<Disk>, limits: Limits) -> Self {
        Self(Arc::new(Parts {
            memory: Mutex::new(Memory::new(limits)),
            disk,
            disk_bytes: limits.disk_bytes,
            eviction: Mutex::default(),
            write_log_limit: LogLimits::default(),
        }))
    }

    /// Lists the files, evicts those above the limit, and removes what an interrupted write has left. Blocks. The
    /// first write does it otherwise.
    pub fn list_files(&self) {
        drop(self.eviction());
    }

    /// The files, as far as they are listed.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (files, bytes) = self.0.eviction.lock().as_ref().map_or((0, 0), Eviction::usage);
        Usage { files, bytes, bytes_max: self.0.disk_bytes }
    }

    /// Content, if it is stored.
    pub async fn get(&self, key: &Key) -> Option<Arc<Content<H>>> {
        if let Some(content) = self.get_from_memory(key) {
            return Some(content);
        }
        if self.0.disk.is_none() || !key.scope.is_public() {
            return None;
        }
        let (store, owned_key) = (self.clone(), key.clone());
        let read = tokio::task::spawn_blocking(move || store.read(&owned_key)).await;
        let Some(content) = read.ok().flatten().map(Arc::new) else {
            // It may have been stored meanwhile. The caller would fetch it a second time.
            return self.get_from_memory(key);
        };
        self.insert_in_memory(key, &content);
        Some(content)
    }

    /// Content, if it is in memory.
    #[must_use]
    pub fn get_from_memory(&self, key: &Key) -> Option<Arc<Content<H>>> {
        self.0.memory.lock().get(key, Instant::now())
    }

    /// Stores content in memory and, if it is public, in a file. Returns the task that writes the file, for
    /// callers that rely on it.
    pub fn put(&self, key: &Key, content: &Arc<Content<H>>) -> Option<JoinHandle<()>> {
        self.insert_in_memory(key, content);
        let is_written = key.scope.is_public() && self.0.disk.as_ref().is_some_and(|disk| !disk.is_read_only);
        let (store, key, content) = (self.clone(), key.clone(), Arc::clone(content));
        is_written.then(|| tokio::task::spawn_blocking(move || store.write(&key, &content)))
    }

    fn insert_in_memory(&self, key: &Key, content: &Arc<Content<H>>) {
        self.0.memory.lock().insert(key.clone(), Arc::clone(content), Instant::now());
    }

    fn read(&self, key: &Key) -> Option<Content<H>> {
        let content = self.0.disk.as_ref()?.read(key);
        // Another thread may be listing all files. Then the time of the file alone counts as its last use.
        if let Some(mut eviction) = self.0.eviction.try_lock()
            && let Some(eviction) = eviction.as_mut()
        {
            eviction.read(&H::path(key).into(), content.is_some());
        }
        content
    }

    fn write(&self, key: &Key, content: &Content<H>) {
        let Some(disk) = &self.0.disk else { return };
        // Before there is a temporary file of this process, which would be taken for an interrupted write.
        self.list_files();
        match disk.write(key, content) {
            Ok(file) => {
                let evicted = self.eviction().as_mut().map(|eviction| eviction.add(file));
                // Not under the lock: the disk may be slow.
                remove(disk, evicted.unwrap_or_default());
            }
            Err(error) => {
                if let Some(suppressed) = self.0.write_log_limit.admit(()) {
                    tracing::warn!(%error, content = %key, suppressed, "content cannot be written to the disk");
                }
            }
        }
    }

    /// The listed files. They are listed by the first call.
    fn eviction(&self) -> MutexGuard<'_, Option<Eviction>> {
        let mut eviction = self.0.eviction.lock();
        if let (None, Some(disk)) = (&*eviction, &self.0.disk) {
            let mut listed = Eviction::new(self.0.disk_bytes);
            for file in disk.list() {
                remove(disk, listed.add(file));
            }
            *eviction = Some(listed);
        }
        eviction
    }
}

impl Store<Headers> {
    /// Whether there may be any content of this scope.
    pub async fn may_contain(&self, scope: &Scope) -> bool {
        if self.0.memory.lock().has_scope(scope) {
            return true;
        }
        let Some(disk) = &self.0.disk else { return false };
        tokio::fs::try_exists(disk.directory.join(scope.directory())).await.unwrap_or_default()
    }
}

fn remove(disk: &Disk, evicted: Vec<Arc<Path>>) {
    for path in evicted {
        disk.remove(&path);
    }
}
