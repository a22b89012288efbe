//! What all blobs of a store share.

use super::blob::Blob;
use super::directory::Directory;
use super::entries::Entries;
use super::file::BLOB_BYTES_MAX;
use super::key::BlobName;
use super::limits::BlobLimits;
use super::state::StoreProblem;
use super::writer::{Job, Writer};
use crate::logging::rate_limit::LogLimits;
use crate::trouble::Trouble;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Bytes of all blobs that are in memory because they do not fill a chunk yet, or wait for the disk: what a fast disk needs
/// for a pause of a second while a line of 300 Mbit/s is full.
pub(super) const MEMORY_BYTES_MAX: u64 = 32 << 20;

/// The pause before the disk is tried again after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What all blobs of a store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) limits: BlobLimits,
    pub(super) directory: Mutex<Arc<Directory>>,
    pub(super) entries: Mutex<Entries>,
    pub(super) room: Mutex<Room>,
    pub(super) counters: Counters,
    pub(super) log_limits: LogLimits<&'static str>,
    pub(super) memory_bytes: AtomicU64,
    pub(super) writer: Sender<Job>,
}

/// What may be written.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes of all blobs.
    pub(super) bytes_max: u64,
    /// Why nothing is written now.
    pub(super) paused: Option<StoreProblem>,
    pub(super) checked: Instant,
    /// That nothing is written.
    pub(super) trouble: Trouble,
}

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Bytes that were not stored.
    pub(super) dropped: AtomicU64,
    /// Chunks.
    pub(super) damaged: AtomicU64,
    /// Blobs.
    pub(super) evicted: AtomicU64,
}

impl Shared {
    pub(super) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.lock())
    }

    /// Runs a job on the thread of the writer, after those that it was given before. Its value is dropped there.
    pub(super) fn later<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer, T) + Send + 'static,
        value: T,
    ) {
        // The thread ends with this value.
        let _ = self.writer.send(Box::new(move |writer| job(writer, value)));
    }

    pub(super) fn has_file(&self, name: &BlobName) -> bool {
        self.entries.lock().get(name).is_some_and(|entry| entry.bytes > 0)
    }

    pub(super) fn resize(&self, name: &BlobName, resize: impl FnOnce(u64) -> u64) {
        self.entries.lock().resize(name, resize);
    }

    /// Forgets a blob. Returns whether it has a file.
    pub(super) fn remove_entry(&self, blob: &Arc<Blob>) -> bool {
        let mut entries = self.entries.lock();
        entries.is_current(blob) && entries.remove(&blob.name).is_some_and(|entry| entry.bytes > 0)
    }

    pub(super) fn remove_unused(&self, name: &BlobName) {
        self.entries.lock().remove_unused(name);
    }

    /// Bytes of a blob that is written now; 0 if none is. Tries the disk again from time to time.
    pub(super) fn size_max(&self) -> u64 {
        let mut room = self.room.lock();
        if room.paused.is_some() && room.checked.elapsed() >= RETRY_INTERVAL {
            room.checked = Instant::now();
            self.later(|writer, ()| writer.check_room(), ());
        }
        if room.paused.is_none() { room.bytes_max.min(BLOB_BYTES_MAX) } else { 0 }
    }

    pub(super) fn has_memory(&self, bytes: u64) -> bool {
        self.memory_bytes.load(Ordering::Relaxed) + bytes <= MEMORY_BYTES_MAX
    }

    pub(super) fn use_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn free_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The same for bytes that are lost.
    pub(super) fn drop_memory(&self, bytes: u64) {
        self.free_memory(bytes);
        self.counters.dropped.fetch_add(bytes, Ordering::Relaxed);
    }
}
