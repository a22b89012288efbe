//! One blob, of which some ranges are there.
//!
//! Must never wait for the disk while it holds a lock, and never return bytes after they were found to be wrong.

mod stored;

pub use stored::StoredBlob;

use super::chunks::{CHUNK_BYTES, Chunks};
use super::file::{BlobFile, Standing, fingerprint};
use super::key::{BlobKey, BlobName};
use super::shared::Shared;
use docxy_protocol::digester::Digester;
use parking_lot::Mutex;
use std::ops::ControlFlow;
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
