//! One blob, of which some ranges are there.

use super::key::BlobKey;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Blob {
    key: BlobKey,
    size: u64,
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    present: Vec<Range<u64>>,
    is_verified: bool,
    proven_public: Option<SystemTime>,
}

impl Blob {
    pub(super) fn new(key: BlobKey, size: u64) -> Arc<Self> {
        Arc::new(Self { key, size, changed: Notify::new(), state: Mutex::default() })
    }
}

/// A blob, of which some ranges are there. Clones share it. While one lives, it is not evicted.
#[derive(Debug, Clone)]
pub struct StoredBlob(Arc<Blob>);

impl StoredBlob {
    pub(super) fn of(blob: Arc<Blob>) -> Self {
        Self(blob)
    }

    /// Which blob.
    #[must_use]
    pub fn key(&self) -> &BlobKey {
        &self.0.key
    }

    /// Bytes of the whole blob.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The parts of a range that are not there, in order. Never touches the disk.
    ///
    /// A part that is there may be found to be damaged when it is read, and is then missing.
    #[must_use]
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let end = range.end.min(self.0.size);
        let (mut at, mut missing) = (range.start, Vec::new());
        for present in &self.0.state.lock().present {
            if present.end <= at {
                continue;
            }
            if present.start >= end {
                break;
            }
            if present.start > at {
                missing.push(at..present.start);
            }
            at = present.end;
        }
        if at < end {
            missing.push(at..end);
        }
        missing
    }

    /// At least one byte and at most `max` from this position, which must be below the size; `None` if there is none, or
    /// it was damaged. Reads a chunk of 256 KiB from the disk, which it keeps for the next read of this clone.
    pub async fn read(&self, at: u64, max: usize) -> Option<Bytes> {
        let state = self.0.state.lock();
        let present = state.present.iter().find(|present| present.contains(&at))?;
        let end = present.end.min(at.saturating_add(max as u64));
        Some(Bytes::copy_from_slice(&state.bytes[at as usize..end as usize]))
    }

    /// Stores bytes at this position. Never waits: what the disk is too slow for, or has no room for, is dropped. Bytes
    /// that are there already are ignored.
    ///
    /// They can be read at once. Until they fill a chunk, and the chunk is written, they are in memory only, and may be
    /// dropped later. Those that do not fill one are dropped with the last clone.
    pub fn write(&self, at: u64, bytes: Bytes) {
        let range = at..at + bytes.len() as u64;
        let missing = self.missing(range);
        let mut state = self.0.state.lock();
        if missing.is_empty() || at + bytes.len() as u64 > self.0.size {
            return;
        }
        let end = at as usize + bytes.len();
        if state.bytes.len() < end {
            state.bytes.resize(end, 0);
        }
        state.bytes[at as usize..end].copy_from_slice(&bytes);
        state.present.push(at..end as u64);
        state.present.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in state.present.drain(..) {
            match merged.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        state.present = merged;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Resolves when there are more bytes, or fewer, than when this was called. It need not be polled before.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.0.changed.notified()
    }

    /// Whether all bytes are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing(0..self.0.size).is_empty()
    }

    /// Whether all bytes are there, and their digest was found to be right.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.is_whole() && self.0.state.lock().is_verified
    }

    /// Records that the digest of the whole blob is right. To be called when a stream that read each of its bytes from
    /// here, or has written it here, has hashed them all. Otherwise the store hashes a whole blob itself, when its last
    /// clone is dropped.
    pub fn verified(&self) {
        self.0.state.lock().is_verified = true;
    }

    /// Removes all bytes, because the digest of the whole blob is wrong. No reader gets any from now on.
    pub fn discard(&self) {
        *self.0.state.lock() = State::default();
        self.0.changed.notify_waiters();
    }

    /// When the blob was last proven to be public; `None` if never, or that was lost.
    #[must_use]
    pub fn proven_public(&self) -> Option<SystemTime> {
        self.0.state.lock().proven_public
    }

    /// Records that it was proven to be public.
    pub fn set_proven_public(&self, at: SystemTime) {
        self.0.state.lock().proven_public = Some(at);
    }
}
