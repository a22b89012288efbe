//! Counts how much was prefetched, and how much of it an engine then requested.
//!
//! Must never count an item as used by a request that came before it.

use crate::metadata::cache::CacheKey;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum number of unused items that are known. Beyond that all of them count as unused.
const UNUSED_ITEMS_MAX: usize = 4096;

/// Counts since the start. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct PrefetchUsage(Arc<Mutex<UsageCounts>>);

/// The field names are those of `/health`.
#[derive(Debug, Default, Serialize)]
struct UsageCounts {
    items: u64,
    bytes: u64,
    used_items: u64,
    used_bytes: u64,
    /// Items that did not match their digest.
    rejected: u64,
    /// Bytes of layers.
    layer_bytes: u64,
    /// Those of them that no engine requested in time, or that were here already.
    layer_bytes_in_vain: u64,
    /// The sizes of the items that no engine has requested yet.
    #[serde(skip)]
    unused: HashMap<CacheKey, u64>,
}

/// Bytes since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrefetchedBytes {
    pub(crate) arrived: u64,
    /// Those of items that an engine then requested.
    pub(crate) used: u64,
}

impl PrefetchUsage {
    pub(crate) fn arrived(&self, key: &CacheKey, bytes: usize) {
        let mut counts = self.0.lock();
        let bytes = bytes as u64;
        counts.items += 1;
        counts.bytes += bytes;
        if counts.unused.len() >= UNUSED_ITEMS_MAX {
            counts.unused.clear();
        }
        counts.unused.insert(key.clone(), bytes);
    }

    pub(crate) fn requested(&self, key: &CacheKey) {
        let mut counts = self.0.lock();
        if let Some(bytes) = counts.unused.remove(key) {
            counts.used_items += 1;
            counts.used_bytes += bytes;
        }
    }

    pub(crate) fn rejected(&self) {
        self.0.lock().rejected += 1;
    }

    /// So many bytes of a layer arrived, and an engine has requested it or not.
    pub(crate) fn layers_arrived(&self, bytes: u64, is_used: bool) {
        let mut counts = self.0.lock();
        counts.layer_bytes += bytes;
        counts.layer_bytes_in_vain += if is_used { 0 } else { bytes };
    }

    /// So many bytes of a layer arrived that are not wanted.
    pub(crate) fn layers_in_vain(&self, bytes: u64) {
        self.layers_arrived(bytes, false);
    }

    pub(crate) fn bytes(&self) -> PrefetchedBytes {
        let counts = self.0.lock();
        PrefetchedBytes { arrived: counts.bytes, used: counts.used_bytes }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!(*self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::cache::entry_tests::{blob, key};

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
        usage.layers_arrived(30, true);
        usage.layers_in_vain(4);
        let expected = json!({
            "items": 3, "bytes": 19, "used_items": 1, "used_bytes": 7, "rejected": 0, "layer_bytes": 34,
            "layer_bytes_in_vain": 4,
        });
        assert_eq!(usage.to_json(), expected);
    }

    #[test]
    fn memory_is_bounded() {
        let usage = PrefetchUsage::default();
        for n in 0..=UNUSED_ITEMS_MAX as u32 {
            usage.arrived(&key("docker.io", "r", &blob(&n.to_be_bytes())), 4);
        }
        assert!(usage.0.lock().unused.len() <= UNUSED_ITEMS_MAX);
        assert_eq!(usage.0.lock().items, UNUSED_ITEMS_MAX as u64 + 1);
    }
}
