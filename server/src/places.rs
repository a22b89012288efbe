//! How many exchanges may be under way, each of which may hold a connection to a registry and some
//! memory: so many of one client, over all its connections, and so many of all.
//!
//! No client takes the last place. What one may hold shrinks with what is left for the others, so
//! that a newcomer always finds something (dynamic thresholds; Choudhury and Hahne, 1998).

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{EXCHANGES_PER_CLIENT_MAX, UPSTREAM_HEADER_TIMEOUT};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a client may take nothing of a body before it loses its place to somebody who waits. An
/// engine that unpacks what it reads pauses for a minute, not for ten.
const UNREAD: Duration = Duration::from_secs(600);

/// Time between looks at whether somebody waits for a place that nobody uses.
const LOOK: Duration = Duration::from_secs(10);

/// The places of all clients.
#[derive(Debug)]
pub(crate) struct Places {
    count: usize,
    free: Mutex<usize>,
    freed: Notify,
    waiting: AtomicUsize,
}

/// The places of one client.
#[derive(Debug)]
pub(crate) struct ClientPlaces {
    all: Arc<Places>,
    own: Arc<Semaphore>,
    /// Changed only under the lock of `all.free`.
    held: AtomicUsize,
    waiting: AtomicUsize,
}

/// One exchange's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    client: Arc<ClientPlaces>,
    _own: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, free: Mutex::new(count), freed: Notify::new(), waiting: AtomicUsize::new(0) })
    }

    /// For one more client.
    pub(crate) fn client(self: &Arc<Self>) -> Arc<ClientPlaces> {
        Arc::new(ClientPlaces {
            all: Arc::clone(self),
            own: Arc::new(Semaphore::new(EXCHANGES_PER_CLIENT_MAX)),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    /// How many are taken.
    pub(crate) fn held(&self) -> usize {
        self.count - *self.lock()
    }

    /// How many wait for one that others hold.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientPlaces {
    /// Waits for a place: as long as it takes where the client itself holds all that it may, since
    /// it knows best how long it has; briefly where others do.
    ///
    /// # Errors
    /// Where the server has too much to do.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Place, Fault> {
        let _waiting = Waiting::among(&self.waiting);
        let own = Arc::clone(&self.own).acquire_owned().await;
        // Nobody closes it.
        let own = own.map_err(|closed| Fault::new(Hop::Server, FaultKind::Internal, closed))?;
        let fair = tokio::time::timeout(UPSTREAM_HEADER_TIMEOUT, self.take_fairly()).await;
        match fair {
            Ok(()) => Ok(Place { client: Arc::clone(self), _own: own }),
            Err(_) => Err(Fault::new(
                Hop::Server,
                FaultKind::Overloaded,
                "too many transfers at once; try again in a while",
            )),
        }
    }

    async fn take_fairly(&self) {
        let _waiting = Waiting::among(&self.all.waiting);
        loop {
            // Before the look, so that no place is missed which becomes free right after it.
            let freed = self.all.freed.notified();
            if self.take_now() {
                return;
            }
            freed.await;
        }
    }

    fn take_now(&self) -> bool {
        let mut free = self.all.lock();
        let fair = self.held.load(Ordering::Relaxed) < *free;
        if fair {
            *free -= 1;
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        fair
    }
}

impl Place {
    /// Resolves when nothing has been done with this place for so long that it belongs to somebody
    /// who waits for one. To be asked anew after everything that was done.
    pub(crate) async fn forfeited(&self) {
        tokio::time::sleep(UNREAD).await;
        while !self.is_wanted() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_wanted(&self) -> bool {
        [&self.client.waiting, &self.client.all.waiting].iter().any(|n| n.load(Ordering::Relaxed) > 0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let all = &self.client.all;
        let mut free = all.lock();
        *free += 1;
        self.client.held.fetch_sub(1, Ordering::Relaxed);
        drop(free);
        all.freed.notify_waiters();
    }
}

/// Somebody who waits, for as long as they do.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
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

    /// Takes what is to be had at once.
    async fn take_all(client: &Arc<ClientPlaces>) -> Vec<Place> {
        let mut taken = Vec::new();
        while let Ok(Ok(place)) = tokio::time::timeout(Duration::from_millis(1), client.take()).await {
            taken.push(place);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn every_newcomer_finds_a_place_and_all_come_back() {
        let all = Places::new(64);
        let clients: Vec<_> = (0..4).map(|_| all.client()).collect();
        let mut held = Vec::new();
        for (client, expected) in clients.iter().zip([32, 16, 8, 4]) {
            let places = take_all(client).await;
            assert_eq!(places.len(), expected);
            held.push(places);
        }
        assert_eq!(all.held(), 60);
        drop(held);
        assert_eq!((all.held(), all.waiting()), (0, 0));
        assert_eq!(take_all(&clients[3]).await.len(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_so_many_places_whatever_is_free() {
        let client = Places::new(10_000).client();
        let mut held = take_all(&client).await;
        assert_eq!(held.len(), EXCHANGES_PER_CLIENT_MAX);
        let next = client.take();
        held.pop();
        assert!(next.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_becomes_free_or_is_told() {
        let all = Places::new(2);
        let (one, other) = (all.client(), all.client());
        let held = take_all(&one).await;
        assert_eq!(held.len(), 1);
        let (last, waited) = tokio::join!(other.take(), async {
            let started = Instant::now();
            let refused = one.take().await.unwrap_err();
            assert_eq!(refused.kind, FaultKind::Overloaded);
            started.elapsed()
        });
        assert!(last.is_ok() && waited == UPSTREAM_HEADER_TIMEOUT);
        let (freed, ()) = tokio::join!(other.take(), async { drop(held) });
        assert!(freed.is_err(), "it holds one, and one is free for others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_nobody_uses_is_lost_only_to_somebody_who_waits() {
        let all = Places::new(2);
        let (idle, busy) = (all.client(), all.client());
        let place = idle.take().await.unwrap();
        let _other = busy.take().await.unwrap();
        let unwanted = tokio::time::timeout(10 * UNREAD, place.forfeited()).await;
        assert!(unwanted.is_err(), "nobody waits");
        let started = Instant::now();
        let wanting = async { while busy.take().await.is_err() {} };
        tokio::select! {
            () = place.forfeited() => assert_eq!(started.elapsed(), UNREAD),
            () = wanting => panic!("there is no place"),
        }
    }
}
