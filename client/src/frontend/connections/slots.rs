//! Limits the connections of engines, and selects which one is closed for a new one.
//!
//! A connection with a running request stays open. A connection that waits for data from its engine (silent,
//! idle, or within a request head or form) can be closed for a new one. The longest-waiting one is closed first,
//! so a program that opens connections and sends nothing cannot block others.

use hashlink::LinkedHashMap;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The slots of all connections.
#[derive(Debug)]
pub(in crate::frontend) struct ConnectionSlots {
    free: Arc<Semaphore>,
    /// The connections that wait for their engine by number, longest first.
    idle: Mutex<LinkedHashMap<u64, CancellationToken>>,
    /// Notified when a connection starts to wait for its engine.
    became_idle: Notify,
    /// The connections so far.
    connections: AtomicU64,
}

/// The slot of one connection, until it is dropped.
#[derive(Debug)]
pub(in crate::frontend) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    evicted: CancellationToken,
    /// The number of its connection. No other has it.
    connection: u64,
    /// `None` if it is no connection of an engine any more.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Keeps a connection open while a request runs.
#[derive(Debug)]
pub(in crate::frontend) struct BusyGuard(Arc<ConnectionSlot>);

/// Lets a connection be closed while its request is incomplete.
#[derive(Debug)]
pub(in crate::frontend) struct IdleGuard<'a>(&'a ConnectionSlot);

impl ConnectionSlots {
    /// Slots for at most this many connections.
    pub(in crate::frontend) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(capacity)),
            idle: Mutex::default(),
            became_idle: Notify::new(),
            connections: AtomicU64::new(0),
        })
    }

    /// A slot for a new connection. If no slot is free, the connection that waits longest for its engine is
    /// closed. If no connection waits for its engine, the new connection waits.
    pub(in crate::frontend) async fn acquire(self: &Arc<Self>) -> Arc<ConnectionSlot> {
        let free = Arc::clone(&self.free);
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::select! {
                permit = free.acquire_owned() => permit.expect("the semaphore is never closed"),
                never = self.evict_one() => match never {},
            },
        };
        let slot = Arc::new(ConnectionSlot {
            slots: Arc::clone(self),
            evicted: CancellationToken::new(),
            connection: self.connections.fetch_add(1, Ordering::Relaxed),
            permit: Mutex::new(Some(permit)),
        });
        slot.set_idle();
        slot
    }

    /// Makes one connection close, as soon as one waits for its engine. Never ends.
    async fn evict_one(&self) -> Infallible {
        while !self.evict_longest_idle() {
            self.became_idle.notified().await;
        }
        std::future::pending().await
    }

    fn evict_longest_idle(&self) -> bool {
        let mut idle = self.idle.lock();
        idle.pop_front().map(|(_, evicted)| evicted.cancel()).is_some()
    }
}

impl ConnectionSlot {
    /// Resolves when the connection must close.
    pub(in crate::frontend) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Starts a request: the connection stays open until it is answered.
    pub(in crate::frontend) fn begin_request(self: &Arc<Self>) -> BusyGuard {
        self.leave_idle();
        BusyGuard(Arc::clone(self))
    }

    fn leave_idle(&self) {
        self.slots.idle.lock().remove(&self.connection);
    }

    fn set_idle(&self) {
        let mut idle = self.slots.idle.lock();
        if !self.evicted.is_cancelled() && self.permit.lock().is_some() {
            idle.insert(self.connection, self.evicted.clone());
            self.slots.became_idle.notify_one();
        }
    }
}

impl BusyGuard {
    /// The number of the connection. No other has it.
    pub(in crate::frontend) fn connection(&self) -> u64 {
        self.0.connection
    }

    /// The connection takes no slot from now on. It closes after this response.
    pub(in crate::frontend) fn leave_slot(&self) {
        self.0.permit.lock().take();
    }

    /// The request is incomplete: the connection may be closed meanwhile.
    pub(in crate::frontend) fn begin_idle(&self) -> IdleGuard<'_> {
        self.0.set_idle();
        IdleGuard(&self.0)
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.0.leave_idle();
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.set_idle();
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.leave_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    /// Whether the connection must close.
    fn evicted(slot: &ConnectionSlot) -> bool {
        slot.evicted.is_cancelled()
    }

    #[tokio::test]
    async fn the_connection_idle_longest_is_closed_first() {
        let slots = ConnectionSlots::new(3);
        let first = slots.acquire().await;
        let second = slots.acquire().await;
        let third = slots.acquire().await;
        // The first had a request, and is idle again.
        drop(first.begin_request());
        let mut newcomer = Box::pin(slots.acquire());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert_eq!([&first, &second, &third].map(|slot| evicted(slot)), [false, true, false]);
        drop(second);
        let fourth = newcomer.await;
        assert_eq!([&first, &third, &fourth].map(|slot| evicted(slot)), [false; 3], "only one is closed");
    }

    #[tokio::test]
    async fn a_connection_with_a_request_stays_open() {
        let slots = ConnectionSlots::new(2);
        let (first, second) = (slots.acquire().await, slots.acquire().await);
        let (busy, other) = (first.begin_request(), second.begin_request());
        let mut newcomer = Box::pin(slots.acquire());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!evicted(&first) && !evicted(&second));
        // A form that has not arrived.
        let paused = busy.begin_idle();
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(evicted(&first) && !evicted(&second));
        drop(paused);
        drop((busy, first));
        let third = newcomer.await;
        drop(other);
        let mut newcomer = Box::pin(slots.acquire());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(evicted(&third) && !evicted(&second), "the third has waited longer");
        drop(third);
        newcomer.await;
    }

    #[tokio::test]
    async fn a_connection_that_leaves_its_slot_is_never_closed_for_another() {
        let slots = ConnectionSlots::new(1);
        let watcher = slots.acquire().await;
        let busy = watcher.begin_request();
        busy.leave_slot();
        let engine = slots.acquire().now_or_never().expect("the slot is free");
        drop(busy);
        assert!(slots.acquire().now_or_never().is_none());
        assert!(evicted(&engine) && !evicted(&watcher));
    }

    #[tokio::test]
    async fn a_slot_is_free_when_its_connection_ends() {
        let slots = ConnectionSlots::new(1);
        for _ in 0..3 {
            let slot = slots.acquire().await;
            let busy = slot.begin_request();
            let mut newcomer = Box::pin(slots.acquire());
            assert!(newcomer.as_mut().now_or_never().is_none() && !evicted(&slot));
            drop((busy, slot));
            drop(newcomer.await);
        }
        assert_eq!((slots.free.available_permits(), slots.idle.lock().len()), (1, 0));
    }
}
