//! A least-recently-used cache with a limit in bytes. Every operation on one key takes constant time.
//!
//! Pure. The order is that of the calls, so it must never read a clock.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, within a limit of bytes.
#[derive(Debug)]
pub struct Lru<K, V> {
    index: HashMap<K, usize>,
    /// A doubly linked list. Its links are indices.
    slots: Vec<Slot<K, V>>,
    oldest: Option<usize>,
    newest: Option<usize>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    size: usize,
    older: Option<usize>,
    newer: Option<usize>,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// A cache of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { index: HashMap::new(), slots: Vec::new(), oldest: None, newest: None, bytes: 0, max_bytes }
    }

    /// Inserts a value of `size` bytes, and replaces an earlier one. Returns the evicted entries, the new one
    /// included if it is too large.
    pub fn insert(&mut self, key: K, value: V, size: usize) -> Vec<(K, V)> {
        self.remove(&key);
        let at = self.slots.len();
        self.index.insert(key.clone(), at);
        self.slots.push(Slot { key, value, size, older: None, newer: None });
        self.link(at);
        self.bytes += size;
        self.evict()
    }

    /// The value, which counts as used.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        let at = *self.index.get(key)?;
        self.unlink(at);
        self.link(at);
        Some(&mut self.slots[at].value)
    }

    /// Removes a value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.index.remove(key)?;
        Some(self.take(at).value)
    }

    /// Changes the size of a value. Returns the evicted entries.
    pub fn resize(&mut self, key: &K, size: usize) -> Vec<(K, V)> {
        let Some(at) = self.index.get(key) else { return Vec::new() };
        let before = std::mem::replace(&mut self.slots[*at].size, size);
        self.bytes = self.bytes - before + size;
        self.evict()
    }

    /// Removes the entries that `keep` rejects. Visits all.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        let mut at = 0;
        while let Some(slot) = self.slots.get(at) {
            if keep(&slot.key, &slot.value) {
                at += 1;
            } else {
                self.index.remove(&slot.key);
                // Another slot takes its place.
                self.take(at);
            }
        }
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.value))
    }

    /// Whether there is a value.
    pub fn contains(&self, key: &K) -> bool {
        self.index.contains_key(key)
    }

    fn evict(&mut self) -> Vec<(K, V)> {
        let mut evicted = Vec::new();
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.oldest
        {
            self.index.remove(&self.slots[oldest].key);
            let Slot { key, value, .. } = self.take(oldest);
            evicted.push((key, value));
        }
        evicted
    }

    /// Removes a slot that the index no longer has. The last slot takes its place.
    fn take(&mut self, at: usize) -> Slot<K, V> {
        self.unlink(at);
        let slot = self.slots.swap_remove(at);
        self.bytes -= slot.size;
        if let Some(moved) = self.slots.get(at) {
            let (older, newer) = (moved.older, moved.newer);
            self.index.insert(moved.key.clone(), at);
            *self.newer_of(older) = Some(at);
            *self.older_of(newer) = Some(at);
        }
        slot
    }

    fn unlink(&mut self, at: usize) {
        let Slot { older, newer, .. } = self.slots[at];
        *self.newer_of(older) = newer;
        *self.older_of(newer) = older;
    }

    /// Links a slot as the newest.
    fn link(&mut self, at: usize) {
        let before = self.newest.replace(at);
        *self.newer_of(before) = Some(at);
        self.slots[at].older = before;
        self.slots[at].newer = None;
    }

    /// The link of a slot to the next newer one, or the beginning of the list.
    fn newer_of(&mut self, slot: Option<usize>) -> &mut Option<usize> {
        match slot {
            Some(at) => &mut self.slots[at].newer,
            None => &mut self.oldest,
        }
    }

    fn older_of(&mut self, slot: Option<usize>) -> &mut Option<usize> {
        match slot {
            Some(at) => &mut self.slots[at].older,
            None => &mut self.newest,
        }
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
            let mut keys: Vec<_> = self.index.keys().copied().collect();
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
        assert_eq!((lru.bytes(), lru.slots.len(), lru.index.len()), (0, 0, 0));
        assert_eq!((lru.oldest, lru.newest), (None, None));
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
                let mut in_order = Vec::new();
                let mut next = lru.oldest;
                while let Some(at) = next {
                    in_order.push((lru.slots[at].key, lru.slots[at].value, lru.slots[at].size));
                    next = lru.slots[at].newer;
                }
                prop_assert_eq!(&in_order, &model);
                prop_assert_eq!(lru.slots.len(), model.len());
            }
        }
    }
}
