//! The requests and transfers that wait, for `/health`.
//!
//! Only records them. The code that waits decides for how long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All that wait. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct WaitList(Arc<Mutex<WaitEntries>>);

#[derive(Debug, Default)]
struct WaitEntries {
    next: u64,
    all: BTreeMap<u64, WaitEntry>,
}

/// A request or transfer that waits.
#[derive(Debug, Clone)]
pub struct WaitEntry {
    /// The digest of a blob, or the name of an operation.
    pub what: String,
    /// The bytes received and the end, of an interrupted body.
    pub reached: Option<(u64, u64)>,
    /// Since when.
    pub since: Instant,
    /// Why it waits.
    pub reason: String,
}

impl WaitList {
    /// Adds an entry until the guard is dropped.
    #[must_use]
    pub fn begin(&self, what: &str, reached: Option<(u64, u64)>, reason: String) -> WaitGuard {
        let entry = WaitEntry { what: what.to_owned(), reached, since: Instant::now(), reason };
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.all.insert(id, entry.clone());
        drop(entries);
        WaitGuard { list: self.clone(), id, since: entry.since }
    }

    /// The entries, longest wait first.
    #[must_use]
    pub fn all(&self) -> Vec<WaitEntry> {
        self.entries().all.values().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, WaitEntries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes its entry when it is dropped.
#[derive(Debug)]
pub struct WaitGuard {
    list: WaitList,
    id: u64,
    since: Instant,
}

impl WaitGuard {
    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.list.entries().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_listed_until_its_guard_is_dropped() {
        let list = WaitList::default();
        let first = list.begin("one", Some((5, 10)), "the tunnel".into());
        let second = list.begin("two", None, "the tunnel".into());
        let names = |list: &WaitList| list.all().into_iter().map(|entry| entry.what).collect::<Vec<_>>();
        assert_eq!(names(&list), ["one", "two"]);
        drop(first);
        assert_eq!(names(&list), ["two"]);
        drop(second);
        assert!(list.all().is_empty());
    }
}
