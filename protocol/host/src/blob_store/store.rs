//! All blobs of a directory.

use super::blob::{Blob, StoredBlob};
use super::directory::Directory;
use super::entries::Entries;
use super::file::BlobFile;
use super::key::{BlobKey, BlobName, BlobOwner};
use super::limits::BlobLimits;
use super::shared::{Counters, Room, Shared};
use super::state::{BlobStoreState, ListedBlob, OpenError, Prune, Pruned, VerifyReport};
use super::writer::{Check, Writer, check_room};
use crate::trouble::Trouble;
use docxy_protocol::name::{Registry, Repository};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// How often a directory that another process has is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Shared>);

impl BlobStore {
    /// The blobs of a directory, which is created. Lists the files, and so blocks. The directory is this process's until
    /// the last clone and the last [`StoredBlob`] are dropped.
    ///
    /// # Errors
    /// If another process has the directory, or it cannot be used. The text is for the user.
    pub fn open(directory: &Path, limits: BlobLimits) -> Result<Self, OpenError> {
        let path = directory.to_owned();
        let failed = |source| OpenError::Io { directory: path.clone(), source };
        let directory = Directory::open(directory)?;
        let entries = Entries::of(directory.list().map_err(failed)?);
        let (writer, jobs) = mpsc::channel();
        let (checks, to_check) = mpsc::channel::<Check>();
        let shared = Arc::new(Shared {
            path: path.clone(),
            limits,
            directory: Mutex::new(Arc::new(directory)),
            entries: Mutex::new(entries),
            room: Mutex::new(Room {
                bytes_max: 0,
                paused: None,
                checked: Instant::now(),
                trouble: Trouble::default(),
            }),
            counters: Counters::default(),
            log_limits: Default::default(),
            memory_bytes: 0.into(),
            writer,
        });
        check_room(&shared);
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let of_writer = Writer::new(Arc::downgrade(&shared), checks);
        thread("docxy-blobs").spawn(move || of_writer.run(&jobs)).map_err(failed)?;
        let check_all = move || to_check.into_iter().for_each(|check| check());
        thread("docxy-blob-hash").spawn(check_all).map_err(failed)?;
        Ok(Self(shared))
    }

    /// The same, which waits so long for a process that still has the directory, perhaps because it ends.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(directory: &Path, limits: BlobLimits, patience: Duration) -> Result<Self, OpenError> {
        let until = Instant::now() + patience;
        loop {
            match Self::open(directory, limits) {
                Err(OpenError::InUse { .. }) if Instant::now() < until => thread::sleep(LOCK_INTERVAL),
                opened => return opened,
            }
        }
    }

    /// The blob of this size, of which nothing may be there yet. It is not evicted while a clone lives. The disk is
    /// touched only if something is stored, and written first by [`StoredBlob::write`].
    ///
    /// If a blob that was verified has another size, it is returned all the same: the size given is wrong.
    pub async fn blob(&self, key: &BlobKey, size: u64) -> StoredBlob {
        loop {
            let blob = self.open_blob(key, Some(size));
            let blob = blob.expect("a blob that is needed is made");
            load(&blob).await;
            if blob.size() == size || blob.is_verified() {
                return blob;
            }
            blob.discard();
        }
    }

    /// The blob, if something of it is there.
    pub async fn find(&self, key: &BlobKey) -> Option<StoredBlob> {
        let blob = self.open_blob(key, None)?;
        load(&blob).await;
        let is_there = !blob.blob().state.lock().chunks.is_empty();
        is_there.then_some(blob)
    }

    fn open_blob(&self, key: &BlobKey, size: Option<u64>) -> Option<StoredBlob> {
        let name = key.name();
        // Its own lock is not taken while those of the entries are held.
        let new = Blob::new(key.clone(), name.clone(), size.unwrap_or_default(), Arc::clone(&self.0));
        let opened = self.0.entries.lock().open(&name, size.is_some(), || Arc::clone(&new));
        opened.map(StoredBlob::new)
    }

    /// Whether something of the blob is there. Never touches the disk.
    #[must_use]
    pub fn contains(&self, key: &BlobKey) -> bool {
        self.0.has_file(&key.name())
    }

    /// Returns when all that was written before is in the files, for tests and at the end of a process.
    pub async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        // First that of the writer, then that of the hashes, and then what they want to be written.
        self.0.later(
            |writer, (shared, sender): (Arc<Shared>, oneshot::Sender<()>)| {
                writer.check_later(move || shared.later(|_, sender| drop(sender), sender));
            },
            (Arc::clone(&self.0), sender),
        );
        let _ = receiver.await;
    }

    /// Removes the private blobs of these repositories, whose owner has logged out. Those in use are gone for new
    /// readers. Returns how many, when their files are gone. Blocks.
    pub fn remove_private(&self, is_removed: impl Fn(&Registry, &Repository) -> bool) -> u64 {
        let mut keys = HashSet::new();
        for (name, ..) in self.names(|name| name.is_private) {
            match self.read(&name) {
                Some(opened) => drop(keys.insert(opened.head.key)),
                // Whose it is cannot be read.
                None => self.remove_damaged(name),
            }
        }
        // They need not have a file yet.
        let in_use = self.0.entries.lock().in_use();
        keys.extend(in_use.iter().map(|blob| blob.key.clone()));
        keys.retain(|key| {
            let BlobOwner::Private(registry, repository) = &key.owner else { return false };
            is_removed(registry, repository)
        });
        let blobs = keys.iter().filter_map(|key| self.open_blob(key, None));
        let count = blobs.inspect(StoredBlob::discard).count();
        let (sender, receiver) = mpsc::channel::<()>();
        self.0.later(|_, sender| drop(sender), sender);
        let _ = receiver.recv();
        count as u64
    }

    /// The state, for `/health`. Never touches the disk.
    #[must_use]
    pub fn state(&self) -> BlobStoreState {
        // Tries a disk again that was full.
        self.0.size_max();
        let (blobs, bytes) = {
            let entries = self.0.entries.lock();
            (entries.files() as u64, entries.bytes())
        };
        let room = self.0.room.lock();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        BlobStoreState {
            blobs,
            bytes,
            bytes_max: room.bytes_max,
            paused: room.paused.as_ref().map(|problem| problem.text.clone()),
            paused_cause: room.paused.as_ref().map(|problem| problem.cause),
            bytes_dropped: count(&self.0.counters.dropped),
            chunks_damaged: count(&self.0.counters.damaged),
            blobs_evicted: count(&self.0.counters.evicted),
        }
    }

    /// All blobs, the last used first. Reads the head of each file, and so blocks.
    #[must_use]
    pub fn list(&self) -> Vec<ListedBlob> {
        let listed = self.names(|_| true).into_iter().rev().filter_map(|(name, _, used)| {
            let opened = self.read(&name)?;
            let (key, size) = (opened.head.key, opened.head.size);
            let chunks = super::chunks::Chunks::new(size, opened.chunks);
            let missing: u64 = chunks.missing(0..size).iter().map(|part| part.end - part.start).sum();
            let content = super::file::fingerprint(chunks.checksums());
            let verified = content.is_some() && content == opened.standing.verified;
            Some(ListedBlob { key, size, stored: size - missing, verified, used })
        });
        listed.collect()
    }

    /// Removes blobs that are not in use. Blocks.
    #[must_use]
    pub fn prune(&self, prune: Prune) -> Pruned {
        let before = prune.used_within.and_then(|time| SystemTime::now().checked_sub(time));
        let (sender, receiver) = mpsc::channel();
        self.0.later(
            move |_, shared: Arc<Shared>| {
                let _ = sender.send(Writer::evict(&shared, prune.keep_bytes, before));
            },
            Arc::clone(&self.0),
        );
        let (blobs, bytes) = receiver.recv().unwrap_or_default();
        Pruned { blobs, bytes }
    }

    /// Checks all chunks, and the digest of each whole blob. Removes what is wrong. Blocks. Calls `progress` with the
    /// bytes that were checked and all bytes; it may stop the check.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64) -> ControlFlow<()>) -> VerifyReport {
        let names = self.names(|_| true);
        let all = names.iter().map(|(_, bytes, _)| bytes).sum();
        let (mut report, mut stopped) = (VerifyReport::default(), false);
        for (name, ..) in names {
            let Some(opened) = self.read(&name) else { continue };
            let Some(blob) = self.open_blob(&opened.head.key, None) else { continue };
            drop(opened);
            blob.blob().load();
            let is_wrong = blob.blob().check(|bytes, is_right| {
                report.bytes += bytes;
                report.chunks_damaged += u64::from(!is_right);
                let step = progress(report.bytes.min(all), all);
                stopped = step.is_break();
                step
            });
            if stopped {
                break;
            }
            report.blobs += 1;
            report.blobs_wrong += u64::from(is_wrong);
        }
        report
    }

    /// Those of blobs with their space and last use, the least recently used first.
    fn names(&self, is_meant: impl Fn(&BlobName) -> bool) -> Vec<(BlobName, u64, SystemTime)> {
        let entries = self.0.entries.lock();
        let files = entries.iter().filter(|(name, entry)| entry.bytes > 0 && is_meant(name));
        files.map(|(name, entry)| (name.clone(), entry.bytes, entry.used)).collect()
    }

    /// Removes a file that is not that of a blob.
    fn remove_damaged(&self, name: BlobName) {
        self.0.entries.lock().remove(&name);
        self.0.later(|writer, name| writer.remove(&name), name);
    }

    fn read(&self, name: &BlobName) -> Option<super::file::Opened> {
        let opened = BlobFile::open(self.0.directory().open_file(name).ok()?)?;
        (opened.head.key.name() == *name).then_some(opened)
    }
}

/// Reads the file of a blob that is used, if that was not done yet.
async fn load(blob: &StoredBlob) {
    blob.blob().set_used();
    if !blob.blob().is_loaded() {
        let blob = Arc::clone(blob.blob());
        let _ = tokio::task::spawn_blocking(move || blob.load()).await;
    }
}

#[cfg(test)]
impl BlobStore {
    /// For tests that hold the writer.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}
