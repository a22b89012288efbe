//! What was used last is kept, within so many bytes.
//!
//! Pure. Uses are counted rather than timed, so nothing here reads a clock.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key, the whole within a bound.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    held: HashMap<K, Held<V>>,
    /// Keys by their last use, the oldest first.
    order: BTreeMap<u64, K>,
    uses: u64,
    bytes: usize,
    most: usize,
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    size: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// Holds `most` bytes at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { held: HashMap::new(), order: BTreeMap::new(), uses: 0, bytes: 0, most }
    }

    /// Keeps a value of `size` bytes, in place of an earlier one. Returns what had to go for it, the
    /// value itself if it is too large.
    pub(crate) fn insert(&mut self, key: K, value: V, size: usize) -> Vec<(K, V)> {
        self.remove(&key);
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.held.insert(key, Held { value, size, used: self.uses });
        self.bytes += size;
        self.make_room()
    }

    fn make_room(&mut self) -> Vec<(K, V)> {
        let mut gone = Vec::new();
        while self.bytes > self.most
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = oldest.clone();
            gone.extend(self.remove(&oldest).map(|value| (oldest, value)));
        }
        gone
    }

    /// The value, which has been used by that.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let held = self.held.get_mut(key)?;
        self.order.remove(&held.used);
        self.uses += 1;
        held.used = self.uses;
        self.order.insert(held.used, key.clone());
        Some(&held.value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let held = self.held.remove(key)?;
        self.order.remove(&held.used);
        self.bytes -= held.size;
        Some(held.value)
    }

    /// Counts another size for a value that is held. Returns what had to go for it.
    pub(crate) fn resize(&mut self, key: &K, size: usize) -> Vec<(K, V)> {
        let Some(held) = self.held.get_mut(key) else { return Vec::new() };
        self.bytes = self.bytes - held.size + size;
        held.size = size;
        self.make_room()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.held.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.held.iter().map(|(key, held)| (key, &held.value))
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.held.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
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
    fn what_is_larger_than_all_that_may_be_held_is_not_held() {
        let mut lru = Lru::new(10);
        lru.insert("a", 1, 5);
        assert_eq!(lru.insert("b", 2, 11), [("a", 1), ("b", 2)]);
        assert_eq!((lru.bytes, lru.order.len(), lru.held.len()), (0, 0, 0));
    }

    #[test]
    fn a_value_that_grows_makes_others_go() {
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
    fn a_value_that_is_replaced_counts_once() {
        let mut lru = Lru::new(10);
        for value in 0..5 {
            assert!(lru.insert("a", value, 6).is_empty());
        }
        assert_eq!((lru.get(&"a").copied(), lru.bytes), (Some(4), 6));
    }
}
