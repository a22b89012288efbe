//! What the large bodies of one connection may ask for ahead, shared fairly among them.
//!
//! A body that its engine doesn't read keeps its share and no more, so the others go on.

use docxy_protocol::window::BulkWindow;
use quinn::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The common window of a connection's large bodies.
#[derive(Debug, Default)]
pub struct Bulk {
    window: Mutex<BulkWindow>,
    bodies: AtomicUsize,
    open: AtomicUsize,
}

impl Bulk {
    /// Lets one more body take part, until the share is dropped.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(self))
    }

    fn window(&self) -> MutexGuard<'_, BulkWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One body's part of the window.
#[derive(Debug)]
pub struct Share(Arc<Bulk>);

impl Share {
    /// Takes a place for one more segment, of a body that has `own` already. The first is always
    /// to be had, or the body could never go on; the others stay within the body's share, and
    /// within what all of them may have.
    #[must_use]
    pub fn open(&self, own: usize) -> Option<OpenSegment> {
        let bulk = &self.0;
        let window = bulk.window().segments();
        let share = window / bulk.bodies.load(Ordering::Relaxed).max(1);
        if own > 0 && (own >= share || bulk.open.load(Ordering::Relaxed) >= window) {
            return None;
        }
        bulk.open.fetch_add(1, Ordering::Relaxed);
        Some(OpenSegment(Arc::clone(bulk)))
    }

    /// Looks at what the connection carries. Cheap enough for each segment, not for each packet.
    pub fn observe(&self, connection: &Connection) {
        let received = connection.stats().udp_rx.bytes;
        self.0.window().observe(Instant::now(), received, connection.rtt());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of one segment.
#[derive(Debug)]
pub struct OpenSegment(Arc<Bulk>);

impl Drop for OpenSegment {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_window_and_each_may_always_go_on() {
        let bulk = Arc::new(Bulk::default());
        let window = bulk.window().segments();
        let (first, second) = (bulk.share(), bulk.share());
        let held: Vec<_> = (0..window).map_while(|own| first.open(own)).collect();
        assert_eq!(held.len(), window / 2);
        drop(second);
        let more: Vec<_> = (held.len()..window * 2).map_while(|own| first.open(own)).collect();
        assert_eq!(held.len() + more.len(), window);
        let late = bulk.share();
        let one = late.open(0);
        assert!(one.is_some(), "a body's first segment is always to be had");
        assert!(late.open(1).is_none(), "others hold the whole window");
        drop(held);
        assert!(late.open(1).is_some());
    }
}
