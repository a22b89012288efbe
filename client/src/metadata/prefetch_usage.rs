//! How much was prefetched, and how much of it an engine then requested.
//!
//! Must never count an item as used by a request that came before it.

use super::kept::Key;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Prefetched items that wait for their first request, at most. Beyond that all of them count as unused.
const MAX_WAITING: usize = 4096;

/// Counts since the start. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct PrefetchUsage(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    items: u64,
    bytes: u64,
    used_items: u64,
    used_bytes: u64,
    /// Items that were not what they claimed to be.
    rejected: u64,
    /// The sizes of items that no engine has requested yet.
    waiting: HashMap<Key, u64>,
}

impl PrefetchUsage {
    pub(super) fn arrived(&self, key: &Key, bytes: usize) {
        let mut counts = self.counts();
        let bytes = bytes as u64;
        counts.items += 1;
        counts.bytes += bytes;
        if counts.waiting.len() >= MAX_WAITING {
            counts.waiting.clear();
        }
        counts.waiting.insert(key.clone(), bytes);
    }

    pub(super) fn requested(&self, key: &Key) {
        let mut counts = self.counts();
        if let Some(bytes) = counts.waiting.remove(key) {
            counts.used_items += 1;
            counts.used_bytes += bytes;
        }
    }

    pub(super) fn rejected(&self) {
        self.counts().rejected += 1;
    }

    pub(super) fn to_json(&self) -> Value {
        let counts = self.counts();
        json!({
            "items": counts.items,
            "bytes": counts.bytes,
            "used_items": counts.used_items,
            "used_bytes": counts.used_bytes,
            "rejected": counts.rejected,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{blob, key};
    use super::*;

    #[test]
    fn an_item_prefetched_twice_is_used_once() {
        let usage = PrefetchUsage::default();
        let (a, b) = (key("docker.io", "r", &blob(b"a")), key("docker.io", "r", &blob(b"b")));
        usage.requested(&a);
        usage.arrived(&a, 7);
        usage.arrived(&b, 5);
        usage.requested(&a);
        usage.requested(&a);
        usage.arrived(&a, 7);
        let expected = json!({ "items": 3, "bytes": 19, "used_items": 1, "used_bytes": 7, "rejected": 0 });
        assert_eq!(usage.to_json(), expected);
    }

    #[test]
    fn memory_is_bounded() {
        let usage = PrefetchUsage::default();
        for n in 0..=MAX_WAITING as u32 {
            usage.arrived(&key("docker.io", "r", &blob(&n.to_be_bytes())), 4);
        }
        assert!(usage.counts().waiting.len() <= MAX_WAITING);
        assert_eq!(usage.counts().items, MAX_WAITING as u64 + 1);
    }
}
