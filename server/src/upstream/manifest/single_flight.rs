//! Concurrent callers with the same key share one fetch and its result, an error included.
//!
//! No caller owns the fetch: it goes on while any caller waits for it, and is dropped with the last one. But a caller
//! whose time is up leaves it running, since the caller's next request needs its result.

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Fetches without a waiting caller, at most: each has a connection to the registry.
const ABANDONED_FETCHES_MAX: usize = 64;

/// The running fetches, by key.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, V: Clone> {
    running: Mutex<HashMap<K, WeakShared<BoxFuture<'static, V>>>>,
    abandoned: Arc<Semaphore>,
}

impl<K: Hash + Eq + Clone, V: Clone + Send + Sync + 'static> SingleFlight<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            running: Mutex::new(HashMap::new()),
            abandoned: Arc::new(Semaphore::new(ABANDONED_FETCHES_MAX)),
        }
    }

    /// The result of the running fetch of `key`, or else of this one. `None` if there is none by `until`: then the
    /// fetch goes on in the background, and must end by itself.
    pub(crate) async fn run<F>(&self, key: K, until: Instant, fetch: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let flight = self.join_or_start(key.clone(), fetch);
        let result = tokio::time::timeout_at(until, flight.clone()).await;
        if result.is_err()
            && let Ok(permit) = Arc::clone(&self.abandoned).try_acquire_owned()
        {
            tokio::spawn(async move {
                flight.await;
                drop(permit);
            });
        }
        let mut running = self.running.lock();
        // A later fetch of the same key may run by now, and stays.
        if running.get(&key).is_some_and(|flight| flight.upgrade().is_none_or(|f| f.peek().is_some())) {
            running.remove(&key);
        }
        result.ok()
    }

    fn join_or_start<F>(&self, key: K, fetch: impl FnOnce() -> F) -> Shared<BoxFuture<'static, V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock();
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn callers_share_one_fetch_even_if_the_first_one_leaves() {
        let flights = SingleFlight::new();
        let (fetched, finish) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let run = || {
            flights.run("a", Instant::now() + Duration::from_secs(60), || {
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
        assert_eq!((second, third), (Some(1), Some(1)));
        finish.notify_one();
        assert_eq!(run().await, Some(2), "a later caller starts another fetch");
        assert!(flights.running.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_whose_time_is_up_leaves_its_fetch_to_the_next_one() {
        let flights = SingleFlight::new();
        let fetched = Arc::new(AtomicUsize::new(0));
        let run = || {
            flights.run("a", Instant::now() + Duration::from_secs(24), || {
                let fetched = Arc::clone(&fetched);
                async move {
                    tokio::time::sleep(Duration::from_secs(40)).await;
                    fetched.fetch_add(1, Ordering::SeqCst) + 1
                }
            })
        };
        assert_eq!(run().await, None);
        assert_eq!(run().await, Some(1), "it went on meanwhile");
        // Lets the task in the background end.
        tokio::task::yield_now().await;
        assert_eq!(flights.abandoned.available_permits(), ABANDONED_FETCHES_MAX);
    }
}
