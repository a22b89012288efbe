//! What is held up at the moment, for `/health`.
//!
//! Only knows; who waits, and for how long, is decided where it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Everything that waits.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    all: BTreeMap<u64, Held>,
}

/// Something that waits.
#[derive(Debug, Clone)]
pub struct Held {
    /// What: a blob's digest, or an operation.
    pub what: String,
    /// The byte reached and how many there are, of a body that broke off.
    pub reached: Option<(u64, u64)>,
    /// Since when.
    pub since: Instant,
    /// What for.
    pub reason: String,
}

impl Waiting {
    /// Notes that something waits, until the guard is dropped.
    #[must_use]
    pub fn begin(&self, what: &str, reached: Option<(u64, u64)>, reason: String) -> Wait {
        let held = Held { what: what.to_owned(), reached, since: Instant::now(), reason };
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.all.insert(id, held.clone());
        drop(entries);
        Wait { waiting: self.clone(), id, since: held.since }
    }

    /// What waits now, longest first.
    #[must_use]
    pub fn all(&self) -> Vec<Held> {
        self.entries().all.values().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that waits, until it is dropped.
#[derive(Debug)]
pub struct Wait {
    waiting: Waiting,
    id: u64,
    since: Instant,
}

impl Wait {
    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiting.entries().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_known_until_it_goes_on() {
        let waiting = Waiting::default();
        let first = waiting.begin("one", Some((5, 10)), "the line".into());
        let second = waiting.begin("two", None, "the line".into());
        let names = |waiting: &Waiting| waiting.all().into_iter().map(|held| held.what).collect::<Vec<_>>();
        assert_eq!(names(&waiting), ["one", "two"]);
        drop(first);
        assert_eq!(names(&waiting), ["two"]);
        drop(second);
        assert!(waiting.all().is_empty());
    }
}
