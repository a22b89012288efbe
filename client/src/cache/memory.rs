//! Content in memory, for an hour after its last use, or 5 minutes if a token was needed to see it.

use super::entry::{CacheEntry, CacheKey};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The most bytes in memory: some thousand manifests and configs.
const CAPACITY_BYTES: usize = 16 * 1024 * 1024;

/// The most memory that an entry needs beside its content, roughly: its names and its media type.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// How long public content stays after its last use. An engine completes an image within that time.
const PUBLIC_LIFETIME: Duration = Duration::from_secs(3600);

/// How long private content stays after it arrived: about as long as registries accept a token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// The entries in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryCache {
    entries: HashMap<CacheKey, MemoryEntry>,
    bytes: usize,
}

#[derive(Debug)]
struct MemoryEntry {
    content: CacheEntry,
    used: Instant,
}

impl MemoryCache {
    pub(super) fn get(&mut self, key: &CacheKey, now: Instant) -> Option<CacheEntry> {
        let entry =
            self.entries.get_mut(key).filter(|entry| now.duration_since(entry.used) < lifetime(key))?;
        if key.scope.is_public() {
            entry.used = now;
        }
        Some(entry.content.clone())
    }

    pub(super) fn insert(&mut self, key: CacheKey, entry: CacheEntry, now: Instant) {
        self.bytes += cost(&entry);
        if let Some(before) = self.entries.insert(key, MemoryEntry { content: entry, used: now }) {
            self.bytes -= cost(&before.content);
        }
        let bytes = &mut self.bytes;
        self.entries.retain(|key, entry| {
            let stays = now.duration_since(entry.used) < lifetime(key);
            *bytes -= if stays { 0 } else { cost(&entry.content) };
            stays
        });
        while self.bytes > CAPACITY_BYTES
            && let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used)
        {
            let oldest = oldest.0.clone();
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| cost(&entry.content));
        }
    }
}

const fn lifetime(key: &CacheKey) -> Duration {
    if key.scope.is_public() { PUBLIC_LIFETIME } else { TOKEN_LIFETIME }
}

fn cost(entry: &CacheEntry) -> usize {
    entry.bytes().len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{blob, key, with_token};
    use super::*;

    #[test]
    fn content_is_returned_for_its_repository_only() {
        let entry = blob(b"config");
        let mut memory = MemoryCache::default();
        let now = Instant::now();
        memory.insert(key("docker.io", "library/a", &entry), entry.clone(), now);
        assert_eq!(memory.get(&key("docker.io", "library/a", &entry), now), Some(entry.clone()));
        assert_eq!(memory.get(&key("docker.io", "library/b", &entry), now), None);
        assert_eq!(memory.get(&key("ghcr.io", "library/a", &entry), now), None);
    }

    #[test]
    fn private_content_is_returned_to_its_token_only_for_5_minutes() {
        let entry = blob(b"config");
        let public = key("docker.io", "alice/a", &entry);
        let (hers, his) = (with_token(&public, "hers"), with_token(&public, "his"));
        let mut memory = MemoryCache::default();
        let now = Instant::now();
        memory.insert(hers.clone(), entry.clone(), now);
        let soon = now + TOKEN_LIFETIME / 2;
        assert_eq!(memory.get(&hers, soon), Some(entry));
        assert_eq!((memory.get(&his, soon), memory.get(&public, soon)), (None, None));
        assert_eq!(memory.get(&hers, now + TOKEN_LIFETIME), None, "a use does not extend its lifetime");
    }

    #[test]
    fn memory_is_bounded_in_bytes_and_age() {
        let mut memory = MemoryCache::default();
        let now = Instant::now();
        let of = |n: u32| blob(&[n.to_be_bytes().to_vec(), vec![0; 1 << 20]].concat());
        for n in 0..20 {
            let entry = of(n);
            memory.insert(key("docker.io", "a", &entry), entry, now + Duration::from_secs(u64::from(n)));
            let sum: usize = memory.entries.values().map(|entry| cost(&entry.content)).sum();
            assert!(sum == memory.bytes && sum <= CAPACITY_BYTES);
        }
        let at = now + Duration::from_secs(20);
        assert!(memory.get(&key("docker.io", "a", &of(0)), at).is_none(), "the oldest goes first");
        assert!(memory.get(&key("docker.io", "a", &of(19)), at).is_some());
        assert!(memory.get(&key("docker.io", "a", &of(18)), at + PUBLIC_LIFETIME).is_none());
        let small = blob(b"x");
        memory.insert(key("docker.io", "a", &small), small.clone(), at + PUBLIC_LIFETIME * 2);
        assert_eq!((memory.entries.len(), memory.bytes), (1, cost(&small)));
    }
}
