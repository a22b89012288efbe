//! Content by digest, for the repository in which it was seen, and for those who may see it: in memory
//! for a while, and on disk for good if it is public.
//!
//! What is small and never changes is worth keeping: a registry counts each time that it is asked
//! for it.

use super::kept::{Kept, Key};
use super::outlines::Outlines;
use super::shelf::Shelf;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes in memory at most: some thousand manifests and configs.
const MOST: usize = 16 * 1024 * 1024;

/// What an item costs at most beside its content, roughly: its names and its media type.
const OVERHEAD: usize = 1024;

/// How long content stays in memory after it was last asked for. Within that an engine is done with
/// an image; the next time will be another day.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The same of what was shown to the holder of a token, from when it came: the registry's word on a
/// token is good for about as long.
const HELD_LIFETIME: Duration = Duration::from_secs(300);

/// What is kept. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Store {
    memory: Arc<Mutex<Memory>>,
    outlines: Arc<Outlines>,
    shelf: Option<Arc<Shelf>>,
}

#[derive(Debug, Default)]
struct Memory {
    all: HashMap<Key, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    used: Instant,
}

impl Store {
    /// With what is in this directory, if there is one.
    pub(super) fn open(directory: Option<PathBuf>) -> Self {
        let shelf = directory.map(|directory| Arc::new(Shelf::new(directory)));
        Self { memory: Arc::default(), outlines: Arc::default(), shelf }
    }

    /// What is known of digests by the manifests that are here.
    pub(super) fn outlines(&self) -> &Outlines {
        &self.outlines
    }

    /// Content from memory, else from the disk.
    pub(super) async fn get(&self, key: &Key) -> Option<Kept> {
        if let Some(kept) = self.recall(key) {
            return Some(kept);
        }
        let shelf = Arc::clone(self.shelf.as_ref().filter(|_| key.home.is_public())?);
        let wanted = key.clone();
        let kept = tokio::task::spawn_blocking(move || shelf.read(&wanted)).await.ok()??;
        self.remember(key.clone(), kept.clone());
        Some(kept)
    }

    /// Content from memory.
    pub(super) fn recall(&self, key: &Key) -> Option<Kept> {
        self.memory().recall(key, Instant::now())
    }

    /// Keeps content.
    pub(super) fn put(&self, key: Key, kept: Kept) {
        self.remember(key.clone(), kept.clone());
        if let Some(shelf) = self.shelf.clone().filter(|_| key.home.is_public()) {
            // A disk may take its time.
            tokio::task::spawn_blocking(move || shelf.write(&key, &kept));
        }
    }

    fn remember(&self, key: Key, kept: Kept) {
        self.outlines.note(&kept);
        self.memory().insert(key, kept, Instant::now());
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn recall(&mut self, key: &Key, now: Instant) -> Option<Kept> {
        let entry = self.all.get_mut(key).filter(|entry| now.duration_since(entry.used) < lifetime(key))?;
        if key.home.is_public() {
            entry.used = now;
        }
        Some(entry.kept.clone())
    }

    fn insert(&mut self, key: Key, kept: Kept, now: Instant) {
        self.bytes += cost(&kept);
        if let Some(before) = self.all.insert(key, Entry { kept, used: now }) {
            self.bytes -= cost(&before.kept);
        }
        let bytes = &mut self.bytes;
        self.all.retain(|key, entry| {
            let stays = now.duration_since(entry.used) < lifetime(key);
            *bytes -= if stays { 0 } else { cost(&entry.kept) };
            stays
        });
        while self.bytes > MOST
            && let Some(oldest) = self.all.iter().min_by_key(|(_, entry)| entry.used)
        {
            let oldest = oldest.0.clone();
            self.bytes -= self.all.remove(&oldest).map_or(0, |entry| cost(&entry.kept));
        }
    }
}

const fn lifetime(key: &Key) -> Duration {
    if key.home.is_public() { LIFETIME } else { HELD_LIFETIME }
}

fn cost(kept: &Kept) -> usize {
    kept.bytes().len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{blob, held, key};
    use super::*;

    #[test]
    fn content_is_let_out_only_where_it_was_seen() {
        let kept = blob(b"config");
        let mut memory = Memory::default();
        let now = Instant::now();
        memory.insert(key("docker.io", "library/a", &kept), kept.clone(), now);
        assert_eq!(memory.recall(&key("docker.io", "library/a", &kept), now), Some(kept.clone()));
        assert_eq!(memory.recall(&key("docker.io", "library/b", &kept), now), None);
        assert_eq!(memory.recall(&key("ghcr.io", "library/a", &kept), now), None);
    }

    #[test]
    fn what_a_token_opened_is_let_out_to_that_token_alone_and_not_for_long() {
        let kept = blob(b"config");
        let public = key("docker.io", "alice/a", &kept);
        let (hers, his) = (held(&public, "hers"), held(&public, "his"));
        let mut memory = Memory::default();
        let now = Instant::now();
        memory.insert(hers.clone(), kept.clone(), now);
        let soon = now + HELD_LIFETIME / 2;
        assert_eq!(memory.recall(&hers, soon), Some(kept));
        assert_eq!((memory.recall(&his, soon), memory.recall(&public, soon)), (None, None));
        assert_eq!(memory.recall(&hers, now + HELD_LIFETIME), None, "though it was asked for meanwhile");
    }

    #[tokio::test]
    async fn what_a_token_opened_is_never_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("content");
        let (kept, store) = (blob(b"config"), Store::open(Some(directory.clone())));
        let public = key("docker.io", "alice/a", &kept);
        let hers = held(&public, "hers");
        store.put(hers.clone(), kept.clone());
        assert_eq!(store.get(&hers).await, Some(kept.clone()));
        Shelf::new(directory.clone()).write(&public, &kept);
        assert_eq!(Store::open(Some(directory)).get(&hers).await, None, "nor is it found there");
    }

    #[test]
    fn memory_is_bounded_in_bytes_and_age() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let of = |n: u32| blob(&[n.to_be_bytes().to_vec(), vec![0; 1 << 20]].concat());
        for n in 0..20 {
            let kept = of(n);
            memory.insert(key("docker.io", "a", &kept), kept, now + Duration::from_secs(u64::from(n)));
            let sum: usize = memory.all.values().map(|entry| cost(&entry.kept)).sum();
            assert!(sum == memory.bytes && sum <= MOST);
        }
        let at = now + Duration::from_secs(20);
        assert!(memory.recall(&key("docker.io", "a", &of(0)), at).is_none(), "the oldest goes first");
        assert!(memory.recall(&key("docker.io", "a", &of(19)), at).is_some());
        assert!(memory.recall(&key("docker.io", "a", &of(18)), at + LIFETIME).is_none());
        let small = blob(b"x");
        memory.insert(key("docker.io", "a", &small), small.clone(), at + LIFETIME * 2);
        assert_eq!((memory.all.len(), memory.bytes), (1, cost(&small)));
    }
}
