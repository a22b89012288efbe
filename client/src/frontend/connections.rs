//! The engines' connections: how many there may be, and which one makes room.
//!
//! A connection whose request is being answered stays. One that waits for its engine (it is silent, idle,
//! or in the middle of a head or a form) is closed when a newcomer finds no place: the one that has waited
//! longest. So a program that opens connections and says nothing takes no place from the others, however
//! many it opens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    state: Mutex<State>,
    /// Told when a place is free, or a connection waits for its engine.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Of the places that are taken, those that were told to make room.
    leaving: usize,
    /// Connections that wait for their engine, in the order in which they began to.
    waiting: BTreeMap<u64, CancellationToken>,
    /// The number of the last one that did.
    last: u64,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    must_go: CancellationToken,
    /// Its number among those that wait; 0 while it doesn't. Changes under the lock alone.
    number: AtomicU64,
}

/// Keeps a connection's place while a request of its engine is being answered.
#[derive(Debug)]
pub(super) struct Serving(Arc<Place>);

/// Lets a connection be closed while its request isn't whole yet.
#[derive(Debug)]
pub(super) struct Paused<'a>(&'a Place);

impl Connections {
    /// At most so many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default(), changed: Notify::new() })
    }

    /// A place for a newcomer. Where there is none, the connection that has waited longest for its engine
    /// is told to go; where none waits, the newcomer does.
    pub(super) async fn place(self: &Arc<Self>) -> Arc<Place> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the look, or a change in between would be missed.
            changed.as_mut().enable();
            if let Some(place) = self.take() {
                return place;
            }
            changed.await;
        }
    }

    /// A free place, or else one that soon will be.
    fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let mut state = self.lock();
        if state.taken < self.most {
            state.taken += 1;
            let place = Place {
                connections: Arc::clone(self),
                must_go: CancellationToken::new(),
                number: AtomicU64::new(0),
            };
            state.wait(&place);
            return Some(Arc::new(place));
        }
        if state.leaving == 0
            && let Some((_, longest)) = state.waiting.pop_first()
        {
            state.leaving += 1;
            longest.cancel();
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, place: &Place) {
        if !place.must_go.is_cancelled() {
            self.last += 1;
            place.number.store(self.last, Ordering::Relaxed);
            self.waiting.insert(self.last, place.must_go.clone());
        }
    }

    fn stay(&mut self, place: &Place) {
        self.waiting.remove(&place.number.swap(0, Ordering::Relaxed));
    }
}

impl Place {
    /// Resolves when the connection must make room.
    pub(super) async fn must_go(&self) {
        self.must_go.cancelled().await;
    }

    /// The engine has asked for something: the connection stays until that is answered.
    pub(super) fn serve(self: &Arc<Self>) -> Serving {
        self.connections.lock().stay(self);
        Serving(Arc::clone(self))
    }

    fn wait(&self) {
        self.connections.lock().wait(self);
        self.connections.changed.notify_waiters();
    }
}

impl Serving {
    /// The engine has still to say something before it can be answered.
    pub(super) fn pause(&self) -> Paused<'_> {
        self.0.wait();
        Paused(&self.0)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.connections.lock().stay(self.0);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.taken -= 1;
        if self.must_go.is_cancelled() {
            state.leaving -= 1;
        } else {
            state.stay(self);
        }
        drop(state);
        self.connections.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    /// Whether it was told to make room.
    fn must_go(place: &Place) -> bool {
        place.must_go.is_cancelled()
    }

    #[tokio::test]
    async fn who_has_waited_longest_for_its_engine_makes_room() {
        let connections = Connections::new(3);
        let first = connections.place().await;
        let second = connections.place().await;
        let third = connections.place().await;
        // The first has asked for something, and is idle again by now.
        drop(first.serve());
        let mut newcomer = Box::pin(connections.place());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert_eq!([&first, &second, &third].map(|place| must_go(place)), [false, true, false]);
        drop(second);
        let fourth = newcomer.await;
        assert_eq!([&first, &third, &fourth].map(|place| must_go(place)), [false; 3], "one is enough");
    }

    #[tokio::test]
    async fn who_is_being_answered_stays_and_newcomers_wait() {
        let connections = Connections::new(2);
        let (first, second) = (connections.place().await, connections.place().await);
        let (serving, other) = (first.serve(), second.serve());
        let mut newcomer = Box::pin(connections.place());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!must_go(&first) && !must_go(&second));
        // A form that is still to come.
        let paused = serving.pause();
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(must_go(&first) && !must_go(&second));
        drop(paused);
        drop((serving, first));
        let third = newcomer.await;
        drop(other);
        let mut newcomer = Box::pin(connections.place());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(must_go(&third) && !must_go(&second), "the third has waited longer");
        drop(third);
        newcomer.await;
    }

    #[tokio::test]
    async fn a_place_is_free_when_its_connection_ends() {
        let connections = Connections::new(1);
        for _ in 0..3 {
            let place = connections.place().await;
            let serving = place.serve();
            let mut newcomer = Box::pin(connections.place());
            assert!(newcomer.as_mut().now_or_never().is_none() && !must_go(&place));
            drop((serving, place));
            drop(newcomer.await);
        }
        let state = connections.lock();
        assert_eq!((state.taken, state.leaving, state.waiting.len()), (0, 0, 0));
    }
}
