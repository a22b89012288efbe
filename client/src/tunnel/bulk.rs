//! What the large bodies of one connection may ask for ahead, shared fairly among them.
//!
//! A body that its engine doesn't read keeps its share and no more, so the others go on.

use docxy_protocol::bulk_window::BulkWindow;
use quinn::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What all large bodies hold, on whichever connection. Segments that outlive a lost connection
/// still count.
#[derive(Debug, Default)]
pub struct Load {
    bodies: AtomicUsize,
    open: AtomicUsize,
}

/// The common window of a connection's large bodies.
#[derive(Debug)]
pub struct Bulk {
    window: Mutex<BulkWindow>,
    load: Arc<Load>,
}

impl Bulk {
    /// For a new connection beside, or after, those on which this load came to be.
    #[must_use]
    pub fn new(load: Arc<Load>) -> Self {
        Self { window: Mutex::default(), load }
    }

    /// Lets one more body take part, until the share is dropped.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        self.load.bodies.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(self))
    }

    /// Segments that were asked for and have not been read to their end, on whichever connection.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.load.open.load(Ordering::Relaxed)
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
        let share = window / bulk.load.bodies.load(Ordering::Relaxed).max(1);
        if own > 0 && (own >= share || bulk.load.open.load(Ordering::Relaxed) >= window) {
            return None;
        }
        bulk.load.open.fetch_add(1, Ordering::Relaxed);
        Some(OpenSegment(Arc::clone(&bulk.load)))
    }

    /// Segments to open together with a request.
    #[must_use]
    pub fn ahead(&self) -> u32 {
        self.0.window().initial_segments()
    }

    /// Looks at what the connection carries. Cheap enough for each segment, not for each packet.
    pub fn observe(&self, connection: &Connection) {
        let received = connection.stats().udp_rx.bytes;
        self.0.window().observe(Instant::now(), received, connection.rtt());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.load.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of one segment.
#[derive(Debug)]
pub struct OpenSegment(Arc<Load>);

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
        let bulk = Arc::new(Bulk::new(Arc::default()));
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

    #[test]
    fn what_outlives_a_connection_counts_on_the_next_one() {
        let load = Arc::new(Load::default());
        let lost = Arc::new(Bulk::new(Arc::clone(&load))).share();
        let kept: Vec<_> = (0..usize::MAX).map_while(|own| lost.open(own)).collect();
        drop(lost);
        let next = Arc::new(Bulk::new(load)).share();
        let first = next.open(0);
        assert!(first.is_some() && next.open(1).is_none());
        drop(kept);
        assert!(next.open(1).is_some());
    }
}
