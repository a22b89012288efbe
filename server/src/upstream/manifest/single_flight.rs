//! Concurrent callers with the same key share one fetch and its result, an error included.
//!
//! No caller owns the fetch: it goes on while any caller waits for it, and is dropped with the last one.

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// The running fetches, by key.
#[derive(Debug)]
pub(in crate::upstream) struct SingleFlight<K, V: Clone> {
    running: Mutex<HashMap<K, WeakShared<BoxFuture<'static, V>>>>,
}

impl<K: Hash + Eq + Clone, V: Clone> SingleFlight<K, V> {
    pub(in crate::upstream) fn new() -> Self {
        Self { running: Mutex::new(HashMap::new()) }
    }

    /// The result of the running fetch of `key`, or else of this one.
    pub(in crate::upstream) async fn run<F>(&self, key: K, fetch: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let result = self.join_or_start(key.clone(), fetch).await;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // A later fetch of the same key may run by now, and stays.
        if running.get(&key).is_some_and(|flight| flight.upgrade().is_none_or(|f| f.peek().is_some())) {
            running.remove(&key);
        }
        result
    }

    fn join_or_start<F>(&self, key: K, fetch: impl FnOnce() -> F) -> Shared<BoxFuture<'static, V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let current = running.get(&key).and_then(WeakShared::upgrade).filter(|f| f.peek().is_none());
        if let Some(flight) = current {
            return flight;
        }
        let flight = fetch().boxed().shared();
        // Fetches without a waiting caller have been dropped. Their entries are removed here.
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
    async fn callers_share_one_fetch_even_if_the_first_one_leaves() {
        let flights = SingleFlight::new();
        let (fetched, finish) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let run = || {
            flights.run("a", || {
                let (fetched, finish) = (Arc::clone(&fetched), Arc::clone(&finish));
                async move {
                    let count = fetched.fetch_add(1, Ordering::SeqCst) + 1;
                    finish.notified().await;
                    count
                }
            })
        };
        let mut first = Box::pin(run());
        assert!(futures_util::poll!(&mut first).is_pending());
        let (mut second, mut third) = (Box::pin(run()), Box::pin(run()));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        finish.notify_one();
        let (second, third) = tokio::join!(second, third);
        assert_eq!((second, third), (1, 1));
        finish.notify_one();
        assert_eq!(run().await, 2, "a later caller starts another fetch");
        assert!(flights.running.lock().unwrap().is_empty());
    }
}
