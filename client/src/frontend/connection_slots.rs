//! Limits the connections of engines, and selects which one is closed for a new one.
//!
//! A connection with a running request stays open. A connection that waits for data from its engine (silent,
//! idle, or within a request head or form) can be closed for a new one. The longest-waiting one is closed first,
//! so a program that opens connections and sends nothing cannot block others.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The slots of all connections.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    capacity: usize,
    state: Mutex<SlotState>,
    /// Notified when a slot is free, or a connection starts to wait for its engine.
    changed: Notify,
}

#[derive(Debug, Default)]
struct SlotState {
    taken: usize,
    /// The taken slots whose connections must close.
    evicting: usize,
    /// The connections that wait for their engine, longest first.
    idle: BTreeMap<u64, CancellationToken>,
    /// The last number that was assigned.
    last_number: u64,
    /// The connections so far.
    connections: u64,
}

/// The slot of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    evicted: CancellationToken,
    /// The number of its connection. No other has it.
    connection: u64,
    /// Its number in `idle`; 0 while it is busy. Changes only under the lock.
    number: AtomicU64,
}

/// Keeps a connection open while a request runs.
#[derive(Debug)]
pub(super) struct BusyGuard(Arc<ConnectionSlot>);

/// Lets a connection be closed while its request is incomplete.
#[derive(Debug)]
pub(super) struct IdleGuard<'a>(&'a ConnectionSlot);

impl ConnectionSlots {
    /// Slots for at most this many connections.
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default(), changed: Notify::new() })
    }

    /// A slot for a new connection. If no slot is free, the connection that waits longest for its engine is
    /// closed. If no connection waits for its engine, the new connection waits.
    pub(super) async fn acquire(self: &Arc<Self>) -> Arc<ConnectionSlot> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Subscribe before the check, so that a change in between is noticed.
            changed.as_mut().enable();
            if let Some(slot) = self.take() {
                return slot;
            }
            changed.await;
        }
    }

    /// A free slot, if there is one. Else makes a connection close.
    fn take(self: &Arc<Self>) -> Option<Arc<ConnectionSlot>> {
        let mut state = self.state.lock();
        if state.taken < self.capacity {
            state.taken += 1;
            state.connections += 1;
            let slot = ConnectionSlot {
                slots: Arc::clone(self),
                evicted: CancellationToken::new(),
                connection: state.connections,
                number: AtomicU64::new(0),
            };
            state.set_idle(&slot);
            return Some(Arc::new(slot));
        }
        if state.evicting == 0
            && let Some((_, idle_longest)) = state.idle.pop_first()
        {
            state.evicting += 1;
            idle_longest.cancel();
        }
        None
    }
}

impl SlotState {
    fn set_idle(&mut self, slot: &ConnectionSlot) {
        if !slot.evicted.is_cancelled() {
            self.last_number += 1;
            slot.number.store(self.last_number, Ordering::Relaxed);
            self.idle.insert(self.last_number, slot.evicted.clone());
        }
    }

    fn set_busy(&mut self, slot: &ConnectionSlot) {
        self.idle.remove(&slot.number.swap(0, Ordering::Relaxed));
    }
}

impl ConnectionSlot {
    /// Resolves when the connection must close.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Starts a request: the connection stays open until it is answered.
    pub(super) fn begin_request(self: &Arc<Self>) -> BusyGuard {
        self.slots.state.lock().set_busy(self);
        BusyGuard(Arc::clone(self))
    }

    fn set_idle(&self) {
        self.slots.state.lock().set_idle(self);
        self.slots.changed.notify_waiters();
    }
}

impl BusyGuard {
    /// The number of the connection. No other has it.
    pub(super) fn connection(&self) -> u64 {
        self.0.connection
    }

    /// The request is incomplete: the connection may be closed meanwhile.
    pub(super) fn begin_idle(&self) -> IdleGuard<'_> {
        self.0.set_idle();
        IdleGuard(&self.0)
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.0.slots.state.lock().set_busy(self.0);
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.set_idle();
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        state.taken -= 1;
        if self.evicted.is_cancelled() {
            state.evicting -= 1;
        } else {
            state.set_busy(self);
        }
        drop(state);
        self.slots.changed.notify_waiters();
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
        let state = slots.state.lock();
        assert_eq!((state.taken, state.evicting, state.idle.len()), (0, 0, 0));
    }
}
