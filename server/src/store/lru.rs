//! A least-recently-used cache with a limit in bytes.
//!
//! Pure. It counts uses, so it must never read a clock.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key, within a limit of bytes.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by their last use, the oldest first.
    order: BTreeMap<u64, K>,
    uses: u64,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    size: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// A cache of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), uses: 0, bytes: 0, max_bytes }
    }

    /// Inserts a value of `size` bytes, and replaces an earlier one. Returns the evicted entries, the new one
    /// included if it is too large.
    pub(crate) fn insert(&mut self, key: K, value: V, size: usize) -> Vec<(K, V)> {
        self.remove(&key);
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { value, size, used: self.uses });
        self.bytes += size;
        self.evict()
    }

    fn evict(&mut self) -> Vec<(K, V)> {
        let mut evicted = Vec::new();
        while self.bytes > self.max_bytes
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = oldest.clone();
            evicted.extend(self.remove(&oldest).map(|value| (oldest, value)));
        }
        evicted
    }

    /// The value, which counts as used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.order.insert(entry.used, key.clone());
        Some(&entry.value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.size;
        Some(entry.value)
    }

    /// Changes the size of a value. Returns the evicted entries.
    pub(crate) fn resize(&mut self, key: &K, size: usize) -> Vec<(K, V)> {
        let Some(entry) = self.entries.get_mut(key) else { return Vec::new() };
        self.bytes = self.bytes - entry.size + size;
        entry.size = size;
        self.evict()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_is_evicted_first() {
        let mut lru = Lru::new(10);
        for key in ["a", "b", "c"] {
            assert!(lru.insert(key, key, 3).is_empty());
        }
        assert_eq!(lru.get(&"a"), Some(&"a"));
        assert_eq!(lru.insert("d", "d", 6), [("b", "b"), ("c", "c")]);
        assert_eq!(lru.get(&"b"), None);
        assert_eq!((lru.get(&"a").copied(), lru.bytes), (Some("a"), 9));
    }

    #[test]
    fn a_value_above_the_limit_is_not_stored() {
        let mut lru = Lru::new(10);
        lru.insert("a", 1, 5);
        assert_eq!(lru.insert("b", 2, 11), [("a", 1), ("b", 2)]);
        assert_eq!((lru.bytes, lru.order.len(), lru.entries.len()), (0, 0, 0));
    }

    #[test]
    fn a_value_that_grows_evicts_others() {
        let mut lru = Lru::new(10);
        for key in ["a", "b", "c"] {
            lru.insert(key, key, 3);
        }
        assert!(lru.resize(&"b", 1).is_empty() && lru.resize(&"d", 100).is_empty());
        assert_eq!(lru.resize(&"c", 8), [("a", "a")]);
        assert_eq!((lru.bytes, lru.iter().count()), (9, 2));
        assert_eq!(lru.resize(&"c", 20), [("b", "b"), ("c", "c")]);
        assert_eq!(lru.bytes, 0);
    }

    #[test]
    fn a_replaced_value_counts_once() {
        let mut lru = Lru::new(10);
        for value in 0..5 {
            assert!(lru.insert("a", value, 6).is_empty());
        }
        assert_eq!((lru.get(&"a").copied(), lru.bytes), (Some(4), 6));
    }
}
