//! One blob, of which some ranges are there.
//!
//! Must never wait for the disk while it holds a lock, and never return bytes after they were found to be wrong.

use super::chunks::{CHUNK_BYTES, Chunks};
use super::file::{BlobFile, Standing, fingerprint};
use super::key::{BlobKey, BlobName};
use super::shared::{MEMORY_BYTES_MAX, Shared};
use super::writer::Writer;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use parking_lot::Mutex;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tokio::sync::Notify;

/// A blob in use.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) key: BlobKey,
    pub(super) name: BlobName,
    pub(super) shared: Arc<Shared>,
    pub(super) state: Mutex<State>,
    loaded: OnceLock<()>,
    /// The number of [`StoredBlob`]s.
    handles: AtomicUsize,
    /// Whether one was for more than a check.
    is_used: AtomicBool,
    changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) chunks: Chunks,
    pub(super) file: Option<Arc<BlobFile>>,
    pub(super) proven_public: Option<SystemTime>,
    /// Whether all chunks together were hashed, and the digest is right. Set only if all are there.
    is_verified: bool,
    /// Whether bytes were written twice. Then it is unknown which of them a stream has hashed.
    is_ambiguous: bool,
    /// Whether its bytes may be wrong, and no reader gets them yet.
    is_held: bool,
    /// Whether nothing is stored any more.
    pub(super) is_gone: bool,
}

/// Bytes of one blob that wait for the disk while [`StoredBlob::written`] lets its caller go on.
const UNWRITTEN_BYTES_MAX: u64 = MEMORY_BYTES_MAX / 4;

impl State {
    fn new(size: u64, stored: Vec<Option<u32>>) -> Self {
        Self {
            chunks: Chunks::new(size, stored),
            file: None,
            proven_public: None,
            is_verified: false,
            is_ambiguous: false,
            is_held: false,
            is_gone: false,
        }
    }

    fn is_whole(&self) -> bool {
        self.chunks.is_stored() || self.chunks.missing(0..u64::MAX).is_empty()
    }

    /// What the file should say.
    pub(super) fn standing(&self) -> Standing {
        let verified = self.is_verified.then(|| fingerprint(self.chunks.checksums())).flatten();
        Standing { verified, proven_public: self.proven_public, is_held: self.is_held }
    }

    /// A chunk that could not be written.
    pub(super) fn drop_from_memory(&mut self, n: u64) -> u64 {
        self.is_verified = false;
        self.chunks.remove_from_memory(n)
    }
}

impl Blob {
    pub(super) fn new(key: BlobKey, name: BlobName, size: u64, shared: Arc<Shared>) -> Arc<Self> {
        let state = Mutex::new(State::new(size, Vec::new()));
        Arc::new(Self {
            key,
            name,
            shared,
            state,
            loaded: OnceLock::new(),
            handles: AtomicUsize::new(0),
            is_used: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Whether the file was read, if there is one.
    pub(super) fn is_loaded(&self) -> bool {
        if !self.shared.has_file(&self.name) {
            // Otherwise one that is made from now on would be read.
            self.loaded.get_or_init(|| ());
        }
        self.loaded.get().is_some()
    }

    /// Reads the file, if there is one, and only once. Blocks.
    pub(super) fn load(&self) {
        if self.is_loaded() {
            return;
        }
        self.loaded.get_or_init(|| {
            let read = self.shared.directory().open_file(&self.name).map(BlobFile::open);
            let mut state = self.state.lock();
            match read {
                _ if state.is_gone => {}
                Ok(Some(opened)) if opened.head.key == self.key && !opened.standing.is_held => {
                    *state = State::new(opened.head.size, opened.chunks);
                    let content = fingerprint(state.chunks.checksums());
                    state.is_verified = content.is_some() && content == opened.standing.verified;
                    state.proven_public = opened.standing.proven_public;
                    state.file = Some(Arc::new(opened.file));
                }
                // It was removed, cannot be read, or a crash left it so, or held.
                _ => {
                    drop(state);
                    self.shared.resize(&self.name, |_| 0);
                    self.shared.later(|writer, name| writer.remove(&name), self.name.clone());
                }
            }
        });
    }

    pub(super) fn set_used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    pub(super) fn has_no_handle(&self) -> bool {
        self.handles.load(Ordering::Acquire) == 0
    }

    /// Whether the store should hash it: it is whole, and no stream has.
    pub(super) fn needs_check(&self) -> bool {
        let state = self.state.lock();
        state.chunks.is_stored() && state.chunks.size() > 0 && !state.is_verified
    }

    pub(super) fn notify_changed(&self) {
        self.changed.notify_waiters();
    }

    /// A chunk in the file is not what was written.
    fn remove_damaged(self: &Arc<Self>, n: u64, checksum: u32) {
        let mut state = self.state.lock();
        if state.chunks.checksum(n) != Some(checksum) {
            return;
        }
        state.chunks.remove_stored(n);
        state.is_verified = false;
        drop(state);
        self.shared.counters.damaged.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.shared.log_limits.admit("damaged") {
            let digest = &self.key.digest;
            tracing::warn!(%digest, chunk = n, suppressed, "a stored chunk is damaged; it will be fetched again");
        }
        self.shared.later(move |writer, blob| writer.clear_chunk(&blob, n, true), Arc::clone(self));
        self.notify_changed();
    }

    /// Removes all bytes. No reader gets any from now on.
    pub(super) fn discard(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let size = state.chunks.size();
        let old = std::mem::replace(&mut *state, State { is_gone: true, ..State::new(size, Vec::new()) });
        drop(state);
        self.shared.free_memory(old.chunks.memory_bytes());
        if self.shared.remove_entry(self) {
            // Before a new blob of that name is written.
            self.shared.later(|writer, name| writer.remove(&name), self.name.clone());
        }
        self.notify_changed();
    }

    /// Reads all chunks in the file, and compares the digest of a whole blob. Removes what is wrong, and returns whether the
    /// digest was. Blocks. `progress` gets the bytes of each chunk and may stop the check.
    pub(super) fn check(self: &Arc<Self>, mut progress: impl FnMut(u64, bool) -> ControlFlow<()>) -> bool {
        let (file, checksums, size) = {
            let state = self.state.lock();
            let Some(file) = state.file.clone() else { return false };
            (file, state.chunks.checksums().collect::<Vec<_>>(), state.chunks.size())
        };
        let mut digester = Some(Digester::matching(&self.key.digest));
        for (n, checksum) in (0..).zip(&checksums) {
            let Some(checksum) = *checksum else {
                digester = None;
                continue;
            };
            let bytes = file.read_chunk(n, checksum).ok().flatten();
            match (&bytes, &mut digester) {
                (Some(bytes), Some(digester)) => digester.update(bytes),
                (None, _) => {
                    self.remove_damaged(n, checksum);
                    digester = None;
                }
                _ => {}
            }
            let length = CHUNK_BYTES.min(size - n * CHUNK_BYTES);
            if progress(length, bytes.is_some()).is_break() {
                return false;
            }
        }
        let Some(found) = digester.map(Digester::finish) else { return false };
        if found != self.key.digest {
            tracing::warn!(digest = %self.key.digest, %found, "a stored blob is another one; it is removed");
            self.discard();
            return true;
        }
        let mut state = self.state.lock();
        if state.chunks.checksums().eq(checksums) && !state.is_verified {
            state.is_verified = true;
            drop(state);
            self.write_standing();
        }
        false
    }

    fn write_standing(self: &Arc<Self>) {
        self.shared.later(|writer, blob| writer.write_standing(&blob), Arc::clone(self));
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.shared.free_memory(self.state.get_mut().chunks.memory_bytes());
        self.shared.remove_unused(&self.name);
    }
}

/// A blob, of which some ranges are there. Clones share it. While one lives, it is not evicted.
#[derive(Debug)]
pub struct StoredBlob {
    blob: Arc<Blob>,
    /// The chunk that was read last, with its number and checksum.
    last: Mutex<Option<(u64, u32, Bytes)>>,
}

impl Clone for StoredBlob {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.blob))
    }
}

impl Drop for StoredBlob {
    fn drop(&mut self) {
        if self.blob.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.blob.shared.later(|writer, blob| writer.closed(&blob), Arc::clone(&self.blob));
        }
    }
}

impl StoredBlob {
    pub(super) fn new(blob: Arc<Blob>) -> Self {
        blob.handles.fetch_add(1, Ordering::AcqRel);
        Self { blob, last: Mutex::default() }
    }

    pub(super) fn blob(&self) -> &Arc<Blob> {
        &self.blob
    }

    /// Which blob.
    #[must_use]
    pub fn key(&self) -> &BlobKey {
        &self.blob.key
    }

    /// Bytes of the whole blob.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blob.state.lock().chunks.size()
    }

    /// The parts of a range that are not there, in order. Never touches the disk. Visits each chunk of the range.
    ///
    /// A part that is there may be found to be damaged when it is read, and is then missing.
    #[must_use]
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.blob.state.lock().chunks.missing(range)
    }

    /// At least one byte and at most `max` from this position, which must be below the size; `None` if there is none, or
    /// it was damaged. Reads a chunk of 256 KiB from the disk, which it keeps for the next read of this clone.
    pub async fn read(&self, at: u64, max: usize) -> Option<Bytes> {
        let n = at / CHUNK_BYTES;
        let max = max.max(1);
        let part = |bytes: &Bytes| {
            let start = (at % CHUNK_BYTES) as usize;
            bytes.slice(start..bytes.len().min(start.saturating_add(max)))
        };
        let (file, checksum) = {
            let state = self.blob.state.lock();
            if let Some(mut bytes) = state.chunks.in_memory(at) {
                bytes.truncate(max);
                return Some(bytes);
            }
            let checksum = state.chunks.checksum(n).filter(|_| at < state.chunks.size())?;
            if let Some((.., bytes)) = self.last.lock().as_ref().filter(|(m, c, _)| (*m, *c) == (n, checksum))
            {
                return Some(part(bytes));
            }
            (Arc::clone(state.file.as_ref()?), checksum)
        };
        let read = tokio::task::spawn_blocking(move || file.read_chunk(n, checksum)).await;
        match read.ok()?.ok().flatten() {
            Some(bytes) => {
                *self.last.lock() = Some((n, checksum, bytes.clone()));
                Some(part(&bytes))
            }
            // Or it cannot be read.
            None => {
                self.blob.remove_damaged(n, checksum);
                None
            }
        }
    }

    /// Stores bytes at this position. Never waits: what the disk is too slow for, or has no room for, is dropped. Bytes
    /// that are there already are ignored.
    ///
    /// They can be read at once. Until they fill a chunk, and the chunk is written, they are in memory only, and may be
    /// dropped later. Those that do not fill one are dropped with the last clone.
    pub fn write(&self, at: u64, bytes: Bytes) {
        let (blob, shared) = (&self.blob, &self.blob.shared);
        let length = bytes.len() as u64;
        let size_max = shared.size_max();
        let mut state = blob.state.lock();
        let size = state.chunks.size();
        let is_within = at.checked_add(length).is_some_and(|end| end <= size);
        if size > size_max || state.is_gone || !is_within {
            shared.counters.dropped.fetch_add(length, Ordering::Relaxed);
            return;
        }
        if !shared.has_memory(length) {
            // They may be of a reader that has gone.
            shared.drop_memory(state.chunks.remove_incomplete());
            if !shared.has_memory(length) {
                drop(state);
                shared.counters.dropped.fetch_add(length, Ordering::Relaxed);
                blob.notify_changed();
                return;
            }
        }
        let before = state.chunks.memory_bytes();
        let added = state.chunks.add(at, &bytes);
        shared.use_memory(state.chunks.memory_bytes() - before);
        state.is_ambiguous |= added.overlapped;
        drop(state);
        for n in added.complete {
            shared.later(move |writer, blob| writer.write_chunk(&blob, n), Arc::clone(blob));
        }
        blob.notify_changed();
    }

    /// Resolves when there are more bytes, or fewer, than when this was called. It need not be polled before.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.blob.changed.notified()
    }

    /// Whether all bytes are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.blob.state.lock().is_whole()
    }

    /// Whether all bytes are there, and their digest was found to be right.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.blob.state.lock().is_verified
    }

    /// Records that the digest of the whole blob is right. To be called when a stream that read each of its bytes from
    /// here, or has written it here, has hashed them all. Otherwise the store hashes a whole blob itself, when its last
    /// clone is dropped.
    pub fn verified(&self) {
        let mut state = self.blob.state.lock();
        if state.is_verified || state.is_ambiguous || state.is_gone || !state.is_whole() {
            return;
        }
        state.is_verified = true;
        drop(state);
        self.blob.write_standing();
    }

    /// Removes all bytes, because the digest of the whole blob is wrong. No reader gets any from now on, and what is written
    /// is dropped. The next [`BlobStore::blob`](super::BlobStore::blob) begins anew.
    pub fn discard(&self) {
        self.blob.discard();
    }

    /// Marks a blob of which nothing is there yet: what is written may be wrong, is not to be shown to anybody, and does not
    /// outlast this process. Until [`release`](Self::release) or [`discard_held`](Self::discard_held). Returns whether it
    /// could be marked, and may be stored at all.
    #[must_use]
    pub fn hold(&self) -> bool {
        let is_stored = self.blob.shared.size_max() >= self.size();
        let mut state = self.blob.state.lock();
        if !is_stored || !state.chunks.is_empty() || state.is_gone || state.is_held || state.file.is_some() {
            return false;
        }
        state.is_held = true;
        true
    }

    /// What is there is right.
    pub fn release(&self) {
        self.blob.state.lock().is_held = false;
        self.blob.write_standing();
    }

    /// Removes the chunks with bytes before this position, which are wrong or not needed. What is left is right.
    pub fn discard_held(&self, end: u64) {
        let mut state = self.blob.state.lock();
        state.is_verified = false;
        for n in 0..end.div_ceil(CHUNK_BYTES).min(Chunks::count(state.chunks.size())) {
            let is_stored = state.chunks.checksum(n).is_some();
            let freed = state.chunks.remove_from_memory(n);
            self.blob.shared.free_memory(freed);
            state.chunks.remove_stored(n);
            if is_stored || freed > 0 {
                // The writer may be at it.
                let clear = move |writer: &mut Writer, blob| writer.clear_chunk(&blob, n, is_stored);
                self.blob.shared.later(clear, Arc::clone(&self.blob));
            }
        }
        drop(state);
        self.release();
        self.blob.notify_changed();
    }

    /// Waits until little of the blob waits for the disk. Who writes as fast as the disk then loses nothing.
    pub async fn written(&self) {
        loop {
            let changed = self.changed();
            if self.blob.state.lock().chunks.memory_bytes() <= UNWRITTEN_BYTES_MAX {
                return;
            }
            changed.await;
        }
    }

    /// When the blob was last proven to be public; `None` if never, or that was lost.
    #[must_use]
    pub fn proven_public(&self) -> Option<SystemTime> {
        self.blob.state.lock().proven_public
    }

    /// Records that it was proven to be public.
    pub fn set_proven_public(&self, at: SystemTime) {
        self.blob.state.lock().proven_public = Some(at);
        self.blob.write_standing();
    }
}
