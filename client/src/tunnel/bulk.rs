//! What the large bodies of one connection may ask for ahead, shared fairly among them.
//!
//! A body that its engine doesn't read keeps its share and no more, so the others go on.

use docxy_protocol::window::BulkWindow;
use quinn::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The common window of a connection's large bodies.
#[derive(Debug, Default)]
pub struct Bulk {
    window: Mutex<BulkWindow>,
    bodies: AtomicUsize,
}

impl Bulk {
    /// Lets one more body take part, until the share is dropped.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(self))
    }
}

/// One body's part of the window.
#[derive(Debug)]
pub struct Share(Arc<Bulk>);

impl Share {
    /// Segments that this body may have open. One always, or it could never go on.
    #[must_use]
    pub fn segments(&self) -> usize {
        let bodies = self.0.bodies.load(Ordering::Relaxed).max(1);
        let window = self.0.window.lock().unwrap_or_else(PoisonError::into_inner);
        (window.segments() / bodies).max(1)
    }

    /// Looks at what the connection carries. Cheap enough for each segment, not for each packet.
    pub fn observe(&self, connection: &Connection) {
        let received = connection.stats().udp_rx.bytes;
        let mut window = self.0.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.observe(Instant::now(), received, connection.rtt());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}
