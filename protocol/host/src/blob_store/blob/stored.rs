//! A handle on a blob: how it is read and written.

use super::Blob;
use crate::blob_store::chunks::{CHUNK_BYTES, Chunks};
use crate::blob_store::key::BlobKey;
use crate::blob_store::shared::MEMORY_BYTES_MAX;
use crate::blob_store::writer::Writer;
use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Bytes of one blob that wait for the disk while [`StoredBlob::written`] lets its caller go on.
const UNWRITTEN_BYTES_MAX: u64 = MEMORY_BYTES_MAX / 4;

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
    pub(in crate::blob_store) fn new(blob: Arc<Blob>) -> Self {
        blob.handles.fetch_add(1, Ordering::AcqRel);
        Self { blob, last: Mutex::default() }
    }

    pub(in crate::blob_store) fn blob(&self) -> &Arc<Blob> {
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

    /// Lets the store hash a whole blob now, although it is in use: with readers that overlap, no clone is the last one.
    pub fn check(&self) {
        if self.is_whole() && !self.is_verified() {
            self.blob.shared.later(|writer, blob| writer.check_unverified(&blob), Arc::clone(&self.blob));
        }
    }

    /// Removes all bytes, because the digest of the whole blob is wrong. No reader gets any from now on, and what is written
    /// is dropped. The next [`BlobStore::blob`](crate::blob_store::BlobStore::blob) begins anew.
    pub fn discard(&self) {
        self.blob.discard();
    }

    /// Marks a blob of which nothing is there yet: what is written may be wrong, is not to be shown, and does not outlast
    /// this process. Until [`release`](Self::release) or [`discard_held`](Self::discard_held). Returns whether it
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
