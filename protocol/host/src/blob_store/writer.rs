//! The thread that changes the files, one job after the other, so that an eviction never meets a write.
//!
//! Must never hold a lock while it waits for the disk.

use super::blob::Blob;
use super::chunks::CHUNK_BYTES;
use super::directory::Directory;
use super::entries::Entries;
use super::file::{BlobFile, Head, data_at};
use super::key::BlobName;
use super::shared::Shared;
use super::state::{StoreCause, StoreProblem};
use crate::byte_size::ByteSize;
use crate::files::private_file::is_full;
use bytes::BytesMut;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

/// A job for the writer.
pub(super) type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// A job for the thread that hashes whole blobs.
pub(super) type Check = Box<dyn FnOnce() + Send>;

/// The space of the file system is asked for after so many bytes, or this time: other programs use it too.
const ROOM_CHECK_BYTES: u64 = 64 << 20;
const ROOM_CHECK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(60);

/// The thread's state.
pub(super) struct Writer {
    shared: Weak<Shared>,
    checks: Sender<Check>,
    /// A chunk that is written.
    buffer: BytesMut,
    /// Bytes since the room was checked.
    written: u64,
}

impl Writer {
    pub(super) fn new(shared: Weak<Shared>, checks: Sender<Check>) -> Self {
        Self { shared, checks, buffer: BytesMut::new(), written: 0 }
    }

    /// Runs jobs until the store and all its blobs are dropped.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(ROOM_CHECK_INTERVAL) {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => self.check_room(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Runs a job on the other thread.
    pub(super) fn check_later(&self, check: impl FnOnce() + Send + 'static) {
        let _ = self.checks.send(Box::new(check));
    }

    /// Writes a chunk that is in memory. One that cannot be written is dropped.
    pub(super) fn write_chunk(&mut self, blob: &Arc<Blob>, n: u64) {
        let (file, size) = {
            let state = blob.state.lock();
            // It may have been discarded.
            let Some(pieces) = state.chunks.complete(n) else { return };
            pieces.copy_to(&mut self.buffer);
            (state.file.clone(), state.chunks.size())
        };
        let length = self.buffer.len() as u64;
        let shared = &blob.shared;
        let written = if size <= shared.size_max() && self.has_room(shared, length) {
            let file = file.map_or_else(|| create(blob, size), |file| Ok(Some(file)));
            file.and_then(|file| file.map(|file| file.write_chunk(n, &self.buffer)).transpose())
        } else {
            Ok(None)
        };
        let mut state = blob.state.lock();
        if let Ok(Some(checksum)) = written {
            if state.chunks.complete(n).is_some() {
                state.chunks.set_stored(n, checksum);
                let standing =
                    state.chunks.is_stored().then(|| state.standing()).filter(|s| s.verified.is_some());
                let file = state.file.clone();
                drop(state);
                shared.free_memory(length);
                shared.resize(&blob.name, |bytes| bytes + length);
                // It was verified before it was all written.
                if let (Some(standing), Some(file)) = (standing, file) {
                    let _ = file.write_standing(standing);
                }
                blob.notify_changed();
            }
            return;
        }
        let mut dropped = state.drop_from_memory(n);
        if state.is_gone {
            // Nothing will complete the others.
            dropped += state.chunks.remove_incomplete();
        }
        drop(state);
        shared.drop_memory(dropped);
        if let Err(error) = written {
            self.failed(shared, &error);
        }
        blob.notify_changed();
    }

    /// Records that a chunk is not there: it was damaged, or is not wanted. `is_counted` unless it was only being written.
    pub(super) fn clear_chunk(&mut self, blob: &Arc<Blob>, n: u64, is_counted: bool) {
        let (file, length) = {
            let state = blob.state.lock();
            let range = state.chunks.range(n);
            (state.file.clone().filter(|_| state.chunks.checksum(n).is_none()), range.end - range.start)
        };
        if let Some(file) = file {
            let _ = file.clear_chunk(n);
            let freed = if is_counted { length } else { 0 };
            blob.shared.resize(&blob.name, |bytes| bytes.saturating_sub(freed).max(1));
        }
    }

    pub(super) fn write_standing(&mut self, blob: &Arc<Blob>) {
        let (file, standing) = {
            let state = blob.state.lock();
            (state.file.clone(), state.standing())
        };
        if let Some(file) = file {
            let _ = file.write_standing(standing);
        }
    }

    /// The last handle of a blob was dropped.
    pub(super) fn closed(&mut self, blob: &Arc<Blob>) {
        if !blob.has_no_handle() {
            return;
        }
        let (dropped, file) = {
            let mut state = blob.state.lock();
            (state.chunks.remove_incomplete(), state.file.clone())
        };
        blob.shared.free_memory(dropped);
        if let Some(file) = file.filter(|_| blob.is_used()) {
            let now = SystemTime::now();
            blob.shared.entries.lock().touch(&blob.name, now);
            file.touch(now);
        }
        self.check_unverified(blob);
    }

    /// Compares the digest of a whole blob, unless a stream has done so.
    pub(super) fn check_unverified(&mut self, blob: &Arc<Blob>) {
        if blob.needs_check() {
            let blob = Arc::clone(blob);
            self.check_later(move || {
                // Several readers may have asked for it.
                if blob.needs_check() {
                    blob.check(|_, _| std::ops::ControlFlow::Continue(()));
                }
            });
        }
    }

    /// Removes a file that belongs to no blob any more.
    pub(super) fn remove(&mut self, name: &BlobName) {
        if let Some(shared) = self.shared.upgrade() {
            let _ = shared.directory().remove(name);
        }
    }

    /// Removes the least recently used blobs that are not in use, until `bytes` are left, or all that are left were used
    /// after `before`. Returns their number and bytes.
    pub(super) fn evict(shared: &Shared, bytes: u64, before: Option<SystemTime>) -> (u64, u64) {
        let evicted = shared.entries.lock().evict(bytes, before);
        let directory = shared.directory();
        for (name, _) in &evicted {
            let _ = directory.remove(name);
        }
        (evicted.len() as u64, evicted.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Asks the file system how much may be used, and evicts what is too much.
    pub(super) fn check_room(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            self.written = 0;
            check_room(&shared);
        }
    }

    /// Whether so many bytes more may be used. Evicts others for them.
    fn has_room(&mut self, shared: &Shared, bytes: u64) -> bool {
        self.written += bytes;
        if self.written >= ROOM_CHECK_BYTES {
            self.written = 0;
            check_room(shared);
        }
        let Some(most) = shared.room.lock().bytes_max.checked_sub(bytes) else { return false };
        if shared.entries.lock().bytes() <= most {
            return true;
        }
        let (evicted, _) = Self::evict(shared, most, None);
        shared.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
        shared.entries.lock().bytes() <= most
    }

    /// The disk is full, or worse. Nothing is written until it is tried again.
    fn failed(&mut self, shared: &Shared, error: &io::Error) {
        if error.kind() == ErrorKind::NotFound {
            // The directory was removed.
            self.check_room();
            return;
        }
        let problem = if is_full(error) {
            StoreProblem::new(StoreCause::Full, "the disk is full")
        } else {
            let text = format!("cannot write to {}: {error}", shared.path.display());
            StoreProblem::new(StoreCause::of(error), text)
        };
        pause(shared, Some(problem));
    }
}

/// The file of a blob that has none yet. `None` if it cannot have one.
fn create(blob: &Arc<Blob>, size: u64) -> io::Result<Option<Arc<BlobFile>>> {
    let (shared, name) = (&blob.shared, &blob.name);
    let directory = shared.directory();
    let is_current = shared.entries.lock().is_current(blob);
    let file = match is_current.then(|| directory.create(name)).transpose() {
        // Something that the store has not made has this name.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
        created => created?,
    };
    let Some(file) = file else {
        blob.state.lock().is_gone = true;
        return Ok(None);
    };
    let standing = blob.state.lock().standing();
    let made = BlobFile::create(file, &Head { key: blob.key.clone(), size }, standing);
    let file = Arc::new(made.inspect_err(|_| drop(directory.remove(name)))?);
    shared.resize(name, |_| data_at(size));
    let mut state = blob.state.lock();
    if state.is_gone {
        drop(state);
        let _ = directory.remove(name);
        return Ok(None);
    }
    state.file = Some(Arc::clone(&file));
    let changed = Some(state.standing()).filter(|now| *now != standing);
    drop(state);
    if let Some(standing) = changed {
        file.write_standing(standing)?;
    }
    Ok(Some(file))
}

/// Asks the file system how much may be used, and evicts what is too much.
pub(super) fn check_room(shared: &Shared) {
    let mut directory = shared.directory();
    if directory.is_removed() {
        match Directory::open(&shared.path) {
            Ok(opened) => directory = Arc::new(opened),
            Err(error) => return pause(shared, Some(error.into())),
        }
        // What is in use has no name any more, and nothing more is written.
        *shared.entries.lock() = Entries::of(directory.list().unwrap_or_default());
        *shared.directory.lock() = Arc::clone(&directory);
    }
    let space = match directory.space() {
        Ok(space) => space,
        Err(error) => {
            let text = format!("cannot use {}: {error}", shared.path.display());
            return pause(shared, Some(StoreProblem::new(StoreCause::of(&error), text)));
        }
    };
    let used = shared.entries.lock().bytes();
    let bytes_max = shared.limits.bytes_max(space, used);
    shared.room.lock().bytes_max = bytes_max;
    let (evicted, _) = Writer::evict(shared, bytes_max, None);
    shared.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
    let least = ByteSize(shared.limits.free_bytes_min(space));
    let problem = match space.is_read_only {
        true => Some(StoreProblem::new(StoreCause::ReadOnly, "the file system is read-only")),
        false if bytes_max < CHUNK_BYTES => {
            let text = format!("less than {least} of the disk would be left free");
            Some(StoreProblem::new(StoreCause::Full, text))
        }
        false => None,
    };
    pause(shared, problem);
}

/// Stops writing for this reason, or goes on.
fn pause(shared: &Shared, problem: Option<StoreProblem>) {
    let (now, mut room) = (Instant::now(), shared.room.lock());
    room.checked = now;
    match &problem {
        Some(StoreProblem { text: reason, .. }) if room.trouble.begin(now) => {
            tracing::warn!(reason, "layers are not kept on the disk");
        }
        None if room.trouble.end(now).is_some() => tracing::info!("layers are kept on the disk again"),
        _ => {}
    }
    room.paused = problem;
}
