//! Limits the concurrent exchanges, of each client over all its connections, and of all clients: each
//! exchange may hold a connection to a registry and some memory.
//!
//! Must never let one client take the last permit: a client may hold at most as many as are free, so that a
//! new client always gets some (dynamic thresholds; Choudhury and Hahne, 1998).

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{EXCHANGES_PER_CLIENT_MAX, UPSTREAM_HEADER_TIMEOUT};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a client may read nothing of a body before another exchange that waits gets its permit. An
/// engine that unpacks a layer pauses for about 1 minute, not for 10.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(600);

/// How often an idle permit checks whether another exchange waits.
const RECLAIM_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The permits of all clients.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    free: Mutex<usize>,
    freed: Notify,
    waiting: AtomicUsize,
}

/// The permits of one client.
#[derive(Debug)]
pub(crate) struct ClientAdmission {
    all: Arc<Admission>,
    own_limit: Arc<Semaphore>,
    /// Changed only under the lock of `all.free`.
    held: AtomicUsize,
    waiting: AtomicUsize,
}

/// The permit of one exchange, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    client: Arc<ClientAdmission>,
    _own_limit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, free: Mutex::new(max), freed: Notify::new(), waiting: AtomicUsize::new(0) })
    }

    /// The permits of one more client.
    pub(crate) fn client(self: &Arc<Self>) -> Arc<ClientAdmission> {
        Arc::new(ClientAdmission {
            all: Arc::clone(self),
            own_limit: Arc::new(Semaphore::new(EXCHANGES_PER_CLIENT_MAX)),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    /// The number of permits that are held.
    pub(crate) fn permits_held(&self) -> usize {
        self.max - *self.free.lock()
    }

    /// The number of exchanges that wait for another client's permit.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl ClientAdmission {
    /// Waits for a permit: without a limit while the client has reached its own limit, because the client has
    /// its own timeouts; briefly while other clients hold the permits.
    ///
    /// # Errors
    /// If the server is overloaded.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Permit, Fault> {
        let _waiting = Waiting::count_in(&self.waiting);
        let own = Arc::clone(&self.own_limit).acquire_owned().await;
        // The semaphore is never closed.
        let own = own.map_err(|closed| Fault::new(Hop::Server, FaultKind::Internal, closed))?;
        let shared = tokio::time::timeout(UPSTREAM_HEADER_TIMEOUT, self.acquire_shared()).await;
        match shared {
            Ok(()) => Ok(Permit { client: Arc::clone(self), _own_limit: own }),
            Err(_) => Err(Fault::new(
                Hop::Server,
                FaultKind::Overloaded,
                "too many transfers at once; try again in a while",
            )),
        }
    }

    async fn acquire_shared(&self) {
        let _waiting = Waiting::count_in(&self.all.waiting);
        loop {
            // Created before the attempt, so that a permit that is released right after it is not missed.
            let freed = self.all.freed.notified();
            if self.try_acquire() {
                return;
            }
            freed.await;
        }
    }

    fn try_acquire(&self) -> bool {
        let mut free = self.all.free.lock();
        let is_fair = self.held.load(Ordering::Relaxed) < *free;
        if is_fair {
            *free -= 1;
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        is_fair
    }
}

impl Permit {
    /// Resolves when this permit was idle for too long and another exchange waits. Call it again after each
    /// write.
    pub(crate) async fn reclaimed(&self) {
        tokio::time::sleep(UNREAD_TIMEOUT).await;
        while !self.has_waiters() {
            tokio::time::sleep(RECLAIM_POLL_INTERVAL).await;
        }
    }

    fn has_waiters(&self) -> bool {
        [&self.client.waiting, &self.client.all.waiting].iter().any(|n| n.load(Ordering::Relaxed) > 0)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let all = &self.client.all;
        let mut free = all.free.lock();
        *free += 1;
        self.client.held.fetch_sub(1, Ordering::Relaxed);
        drop(free);
        all.freed.notify_waiters();
    }
}

/// Counts a waiting exchange until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count_in(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Acquires all permits that are available at once.
    async fn acquire_all(client: &Arc<ClientAdmission>) -> Vec<Permit> {
        let mut permits = Vec::new();
        while let Ok(Ok(permit)) = tokio::time::timeout(Duration::from_millis(1), client.acquire()).await {
            permits.push(permit);
        }
        permits
    }

    #[tokio::test(start_paused = true)]
    async fn every_new_client_gets_permits_and_all_are_returned() {
        let all = Admission::new(64);
        let clients: Vec<_> = (0..4).map(|_| all.client()).collect();
        let mut held = Vec::new();
        for (client, expected) in clients.iter().zip([32, 16, 8, 4]) {
            let permits = acquire_all(client).await;
            assert_eq!(permits.len(), expected);
            held.push(permits);
        }
        assert_eq!(all.permits_held(), 60);
        drop(held);
        assert_eq!((all.permits_held(), all.waiting()), (0, 0));
        assert_eq!(acquire_all(&clients[3]).await.len(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_a_limit_of_its_own() {
        let client = Admission::new(10_000).client();
        let mut held = acquire_all(&client).await;
        assert_eq!(held.len(), EXCHANGES_PER_CLIENT_MAX);
        let next = client.acquire();
        held.pop();
        assert!(next.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_exchange_gets_a_released_permit_or_a_fault() {
        let all = Admission::new(2);
        let (one, other) = (all.client(), all.client());
        let held = acquire_all(&one).await;
        assert_eq!(held.len(), 1);
        let (last, waited) = tokio::join!(other.acquire(), async {
            let started = Instant::now();
            let refused = one.acquire().await.unwrap_err();
            assert_eq!(refused.kind, FaultKind::Overloaded);
            started.elapsed()
        });
        assert!(last.is_ok() && waited == UPSTREAM_HEADER_TIMEOUT);
        let (freed, ()) = tokio::join!(other.acquire(), async { drop(held) });
        assert!(freed.is_err(), "it holds one, and the other one is reserved");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_permit_is_reclaimed_only_for_a_waiting_exchange() {
        let all = Admission::new(2);
        let (idle, busy) = (all.client(), all.client());
        let permit = idle.acquire().await.unwrap();
        let _other = busy.acquire().await.unwrap();
        let reclaimed = tokio::time::timeout(10 * UNREAD_TIMEOUT, permit.reclaimed()).await;
        assert!(reclaimed.is_err(), "no exchange waits");
        let started = Instant::now();
        let waiting = async { while busy.acquire().await.is_err() {} };
        tokio::select! {
            () = permit.reclaimed() => assert_eq!(started.elapsed(), UNREAD_TIMEOUT),
            () = waiting => panic!("no permit is free"),
        }
    }
}
