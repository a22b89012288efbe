//! A least-recently-used cache with a limit in bytes. Every operation on one key takes constant time.
//!
//! Pure. The order is that of the calls, so it must never read a clock.

use hashlink::LinkedHashMap;
use std::hash::Hash;

/// Values by key, within a limit of bytes.
#[derive(Debug)]
pub struct Lru<K, V> {
    /// The values with their sizes, the least recently used first.
    entries: LinkedHashMap<K, (V, usize)>,
    bytes: usize,
    max_bytes: usize,
}

impl<K: Hash + Eq, V> Lru<K, V> {
    /// A cache of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { entries: LinkedHashMap::new(), bytes: 0, max_bytes }
    }

    /// Inserts a value of `size` bytes, and replaces an earlier one. Returns the evicted entries, the new one
    /// included if it is too large.
    pub fn insert(&mut self, key: K, value: V, size: usize) -> Vec<(K, V)> {
        self.remove(&key);
        self.entries.insert(key, (value, size));
        self.bytes += size;
        self.evict()
    }

    /// The value, which counts as used.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.entries.to_back(key).map(|(value, _)| value)
    }

    /// Removes a value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (value, size) = self.entries.remove(key)?;
        self.bytes -= size;
        Some(value)
    }

    /// Changes the size of a value. Returns the evicted entries.
    pub fn resize(&mut self, key: &K, size: usize) -> Vec<(K, V)> {
        let Some((_, before)) = self.entries.get_mut(key) else { return Vec::new() };
        self.bytes = self.bytes - std::mem::replace(before, size) + size;
        self.evict()
    }

    /// Removes the entries that `keep` rejects. Visits all.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        self.entries.retain(|key, (value, size)| {
            let is_kept = keep(key, value);
            self.bytes -= if is_kept { 0 } else { *size };
            is_kept
        });
    }

    /// All entries, the least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }

    /// The number of entries, and their bytes.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Whether there is a value.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    fn evict(&mut self) -> Vec<(K, V)> {
        let mut evicted = Vec::new();
        while self.bytes > self.max_bytes
            && let Some((key, (value, size))) = self.entries.pop_front()
        {
            self.bytes -= size;
            evicted.push((key, value));
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl<K, V> Lru<K, V> {
        /// The sizes of all values together.
        pub(crate) fn bytes(&self) -> usize {
            self.bytes
        }
    }

    impl<V> Lru<&'static str, V> {
        fn keys(&self) -> Vec<&'static str> {
            let mut keys: Vec<_> = self.entries.keys().copied().collect();
            keys.sort_unstable();
            keys
        }
    }

    #[test]
    fn the_least_recently_used_is_evicted_first() {
        let mut lru = Lru::new(10);
        for key in ["a", "b", "c"] {
            assert!(lru.insert(key, key, 3).is_empty());
        }
        assert_eq!(lru.get(&"a"), Some(&mut "a"));
        assert!(lru.contains(&"b"), "this is no use");
        assert_eq!(lru.insert("d", "d", 6), [("b", "b"), ("c", "c")]);
        assert_eq!(lru.get(&"b"), None);
        assert_eq!((lru.keys(), lru.bytes()), (vec!["a", "d"], 9));
    }

    #[test]
    fn a_value_above_the_limit_is_not_stored() {
        let mut lru = Lru::new(10);
        lru.insert("a", 1, 5);
        assert_eq!(lru.insert("b", 2, 11), [("a", 1), ("b", 2)]);
        assert_eq!((lru.bytes(), lru.entries.len()), (0, 0));
    }

    #[test]
    fn a_value_that_grows_evicts_others() {
        let mut lru = Lru::new(10);
        for key in ["a", "b", "c"] {
            lru.insert(key, key, 3);
        }
        assert!(lru.resize(&"b", 1).is_empty() && lru.resize(&"d", 100).is_empty());
        assert_eq!(lru.resize(&"c", 8), [("a", "a")]);
        assert_eq!((lru.bytes(), lru.iter().count()), (9, 2));
        assert_eq!(lru.resize(&"c", 20), [("b", "b"), ("c", "c")]);
        assert_eq!(lru.bytes(), 0);
    }

    #[test]
    fn a_replaced_value_counts_once() {
        let mut lru = Lru::new(10);
        for value in 0..5 {
            assert!(lru.insert("a", value, 6).is_empty());
        }
        assert_eq!((lru.get(&"a").copied(), lru.bytes()), (Some(4), 6));
    }

    proptest! {
        /// The same calls to a list that is sorted by use.
        #[test]
        fn it_behaves_as_a_list_in_the_order_of_use(calls in prop::collection::vec((0..6_u8, 0..5_u8, 0..5_usize), 1..200)) {
            let mut lru = Lru::new(10);
            let mut model: Vec<(u8, u8, usize)> = Vec::new();
            for (call, (what, key, size)) in calls.into_iter().enumerate() {
                let at = model.iter().position(|entry| entry.0 == key);
                match what {
                    0 | 1 => {
                        at.map(|at| model.remove(at));
                        model.push((key, call as u8, size));
                        let mut evicted = Vec::new();
                        while model.iter().map(|entry| entry.2).sum::<usize>() > 10 {
                            let (key, value, _) = model.remove(0);
                            evicted.push((key, value));
                        }
                        prop_assert_eq!(lru.insert(key, call as u8, size), evicted);
                    }
                    2 => {
                        let entry = at.map(|at| model.remove(at));
                        model.extend(entry);
                        prop_assert_eq!(lru.get(&key).copied(), entry.map(|entry| entry.1));
                    }
                    3 => prop_assert_eq!(lru.remove(&key), at.map(|at| model.remove(at).1)),
                    4 => {
                        lru.retain(|other, _| *other != key);
                        model.retain(|entry| entry.0 != key);
                    }
                    _ => prop_assert_eq!(lru.contains(&key), at.is_some()),
                }
                let in_order: Vec<_> = lru.entries.iter().map(|(key, (value, size))| (*key, *value, *size)).collect();
                prop_assert_eq!(&in_order, &model);
            }
        }
    }
}
