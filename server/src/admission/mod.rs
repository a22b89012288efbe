//! Limits the concurrent exchanges, of each client over all its connections, and of all clients: each
//! exchange may hold a connection to a registry and some memory.
//!
//! Must never hold a permit that its client does not use while another exchange waits.

pub(crate) mod budget;
pub(crate) mod memory_limits;

use crate::admission::budget::{Budget, BudgetShare, Slot};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{EXCHANGES_PER_CLIENT_MAX, UPSTREAM_HEADER_TIMEOUT};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

/// How long a client may read nothing of a body before another exchange that waits gets its permit. An
/// engine that unpacks a layer pauses for about 1 minute, not for 10.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(600);

/// How often an idle permit checks whether another exchange waits.
const RECLAIM_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The permits of all clients.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    budget: Arc<Budget>,
    /// Counts the exchanges that wait for another client's permit.
    waiting: TaskTracker,
}

/// The permits of one client.
#[derive(Debug)]
pub(crate) struct ClientAdmission {
    all: Arc<Admission>,
    budget: Arc<BudgetShare>,
    own_limit: Arc<Semaphore>,
    /// Counts the exchanges of this client that wait.
    waiting: TaskTracker,
}

/// The permit of one exchange, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    client: Arc<ClientAdmission>,
    _slot: Slot,
    _own_limit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, budget: Budget::new(max), waiting: TaskTracker::new() })
    }

    /// The permits of one more client.
    pub(crate) fn client(self: &Arc<Self>) -> Arc<ClientAdmission> {
        Arc::new(ClientAdmission {
            all: Arc::clone(self),
            budget: self.budget.client(),
            own_limit: Arc::new(Semaphore::new(EXCHANGES_PER_CLIENT_MAX)),
            waiting: TaskTracker::new(),
        })
    }

    /// The number of permits that are held.
    pub(crate) fn permits_held(&self) -> usize {
        self.max - self.budget.free()
    }

    /// The number of exchanges that wait for another client's permit.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl ClientAdmission {
    /// Waits for a permit: without a limit while the client has reached its own limit, because the client has
    /// its own timeouts; briefly while other clients hold the permits.
    ///
    /// # Errors
    /// If the server is overloaded.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Permit, Fault> {
        let _waiting = self.waiting.token();
        let own_limit = Arc::clone(&self.own_limit).acquire_owned().await;
        // The semaphore is never closed.
        let own_limit = own_limit.map_err(|closed| Fault::new(Hop::Server, FaultKind::Internal, closed))?;
        let _waiting_for_others = self.all.waiting.token();
        let slot = tokio::time::timeout(UPSTREAM_HEADER_TIMEOUT, self.budget.slot(usize::MAX))
            .await
            .map_err(|_| {
                let detail = "too many transfers at once; try again in a while";
                Fault::new(Hop::Server, FaultKind::Overloaded, detail)
            })?;
        Ok(Permit { client: Arc::clone(self), _slot: slot, _own_limit: own_limit })
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
        !self.client.waiting.is_empty() || !self.client.all.waiting.is_empty()
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
