//! The last used entries, in memory, and the limits of a store.

use super::content::{Content, Key};
use super::format::ContentHead;
use super::scope::Scope;
use crate::lru::Lru;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a store may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of bytes in memory.
    pub memory_bytes: usize,
    /// Maximum number of bytes in files.
    pub disk_bytes: usize,
    /// How long public content stays in memory after its last use.
    pub public_lifetime: Duration,
    /// How long private content stays in memory after it was stored.
    pub private_lifetime: Duration,
}

impl Limits {
    /// How long content of this scope stays in memory.
    pub(super) const fn lifetime(&self, scope: &Scope) -> Duration {
        if scope.is_public() { self.public_lifetime } else { self.private_lifetime }
    }
}

/// The memory that an entry needs beside its content and its head, roughly.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// How often expired entries are removed, at most. They are never returned.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The entries.
#[derive(Debug)]
pub(super) struct Memory<H> {
    entries: Lru<Key, Entry<H>>,
    limits: Limits,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Entry<H> {
    content: Arc<Content<H>>,
    /// When public content was used last, or private content was stored.
    since: Instant,
}

impl<H: ContentHead> Memory<H> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { entries: Lru::new(limits.memory_bytes), limits, swept: None }
    }

    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Arc<Content<H>>> {
        let lifetime = self.limits.lifetime(&key.scope);
        let entry = self.entries.get(key).filter(|entry| now.duration_since(entry.since) < lifetime)?;
        if key.scope.is_public() {
            entry.since = now;
        }
        Some(Arc::clone(&entry.content))
    }

    pub(super) fn insert(&mut self, key: Key, content: Arc<Content<H>>, now: Instant) {
        let size = content.bytes().len() + content.head().size() + ENTRY_OVERHEAD_BYTES;
        self.entries.insert(key, Entry { content, since: now }, size);
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            let limits = self.limits;
            let is_alive =
                |key: &Key, entry: &Entry<H>| now.duration_since(entry.since) < limits.lifetime(&key.scope);
            self.entries.retain(is_alive);
        }
    }

    pub(super) fn has_scope(&self, scope: &Scope) -> bool {
        self.entries.iter().any(|(key, _)| key.scope == *scope)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LIMITS, blob, key, with_token};
    use super::*;

    #[test]
    fn content_is_returned_for_its_repository_only() {
        let content = blob(b"config");
        let mut memory = Memory::new(LIMITS);
        let now = Instant::now();
        memory.insert(key("docker.io", "library/a", &content), Arc::clone(&content), now);
        assert_eq!(memory.get(&key("docker.io", "library/a", &content), now), Some(Arc::clone(&content)));
        assert_eq!(memory.get(&key("docker.io", "library/b", &content), now), None);
        assert_eq!(memory.get(&key("ghcr.io", "library/a", &content), now), None);
    }

    #[test]
    fn private_content_is_returned_to_its_token_only_and_a_use_does_not_extend_its_lifetime() {
        let content = blob(b"config");
        let public = key("docker.io", "alice/a", &content);
        let (hers, his) = (with_token(&public, "hers"), with_token(&public, "his"));
        let mut memory = Memory::new(LIMITS);
        let now = Instant::now();
        memory.insert(hers.clone(), Arc::clone(&content), now);
        let soon = now + LIMITS.private_lifetime / 2;
        assert_eq!(memory.get(&hers, soon), Some(content));
        assert_eq!((memory.get(&his, soon), memory.get(&public, soon)), (None, None));
        assert_eq!(memory.get(&hers, now + LIMITS.private_lifetime), None);
    }

    #[test]
    fn memory_is_bounded_in_bytes_and_age() {
        let mut memory = Memory::new(LIMITS);
        let now = Instant::now();
        let of = |n: u32| blob(&[n.to_be_bytes().to_vec(), vec![0; 1 << 20]].concat());
        let of_key = |n: u32| key("docker.io", "a", &of(n));
        for n in 0..20 {
            memory.insert(of_key(n), of(n), now + Duration::from_secs(u64::from(n)));
            assert!(memory.entries.bytes() <= LIMITS.memory_bytes);
        }
        let at = now + Duration::from_secs(20);
        assert!(memory.get(&of_key(0), at).is_none(), "the oldest goes first");
        assert!(memory.get(&of_key(19), at).is_some());
        assert!(memory.get(&of_key(18), at + LIMITS.public_lifetime).is_none());
        let small = blob(b"x");
        memory.insert(key("docker.io", "a", &small), small, at + LIMITS.public_lifetime * 2);
        assert_eq!((memory.entries.iter().count(), memory.entries.bytes()), (1, 1 + ENTRY_OVERHEAD_BYTES));
    }
}
