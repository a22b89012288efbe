//! What many ask for at once is fetched once, and all get what came of it, a failure included.
//!
//! Nobody leads: whoever is left of those who asked carries the fetch on, and it ends with the last.

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Fetches under way, by what is fetched.
#[derive(Debug)]
pub(super) struct Flights<K, V: Clone> {
    running: Mutex<HashMap<K, WeakShared<BoxFuture<'static, V>>>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { running: Mutex::new(HashMap::new()) }
    }

    /// What the fetch of `key` brings that is under way, or else this one.
    pub(super) async fn join<F>(&self, key: K, fetch: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let flight = self.board(key.clone(), fetch);
        let brought = flight.await;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // A later fetch of the same thing may have begun by now, and stays.
        if running.get(&key).is_some_and(|flight| flight.upgrade().is_none_or(|f| f.peek().is_some())) {
            running.remove(&key);
        }
        brought
    }

    fn board<F>(&self, key: K, fetch: impl FnOnce() -> F) -> Shared<BoxFuture<'static, V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = running.get(&key).and_then(WeakShared::upgrade).filter(|f| f.peek().is_none());
        if let Some(flight) = under_way {
            return flight;
        }
        let flight = fetch().boxed().shared();
        // One that nobody waits for any more is gone already; its place is cleared here.
        running.retain(|_, flight| flight.upgrade().is_some());
        running.extend(flight.downgrade().map(|weak| (key, weak)));
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn many_askers_cost_one_fetch_even_if_the_first_one_leaves() {
        let flights = Flights::new();
        let (fetched, landed) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            flights.join("a", || {
                let (fetched, landed) = (Arc::clone(&fetched), Arc::clone(&landed));
                async move {
                    let count = fetched.fetch_add(1, Ordering::SeqCst) + 1;
                    landed.notified().await;
                    count
                }
            })
        };
        let mut first = Box::pin(ask());
        assert!(futures_util::poll!(&mut first).is_pending());
        let (mut second, mut third) = (Box::pin(ask()), Box::pin(ask()));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        landed.notify_one();
        let (second, third) = tokio::join!(second, third);
        assert_eq!((second, third), (1, 1));
        landed.notify_one();
        assert_eq!(ask().await, 2, "who comes later has it fetched anew");
        assert!(flights.running.lock().unwrap().is_empty());
    }
}
