//! Which streams a connection carries, and whether it still carries them well.
//!
//! Must never count a stream twice.

use crate::session::Traffic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// The load of a client's connection.
#[derive(Debug, Default)]
pub(in super::super) struct Load {
    small: AtomicUsize,
    bulk: AtomicUsize,
    has_collapsed: watch::Sender<bool>,
}

/// A stream of a connection until it is dropped.
#[derive(Debug)]
pub(in super::super) struct LoadedStream(Arc<Load>, Traffic);

impl Load {
    /// Adds a stream.
    pub(in super::super) fn add(self: &Arc<Self>, traffic: Traffic) -> LoadedStream {
        self.count(traffic).fetch_add(1, Ordering::Relaxed);
        LoadedStream(Arc::clone(self), traffic)
    }

    fn count(&self, traffic: Traffic) -> &AtomicUsize {
        match traffic {
            Traffic::Small => &self.small,
            Traffic::Bulk => &self.bulk,
        }
    }

    /// Whether it carries a large body.
    pub(in super::super) fn has_bulk(&self) -> bool {
        self.bulk.load(Ordering::Relaxed) > 0
    }

    /// Whether it carries a small response.
    pub(super) fn has_small(&self) -> bool {
        self.small.load(Ordering::Relaxed) > 0
    }

    /// Its rate has collapsed.
    pub(super) fn collapse(&self) {
        self.has_collapsed.send_replace(true);
    }

    /// Whether its rate has collapsed.
    pub(in super::super) fn has_collapsed(&self) -> bool {
        *self.has_collapsed.borrow()
    }

    /// Waits until its rate has collapsed.
    pub(in super::super) async fn collapsed(&self) {
        // The sender lives as long as this value.
        let _ = self.has_collapsed.subscribe().wait_for(|has_collapsed| *has_collapsed).await;
    }
}

impl Drop for LoadedStream {
    fn drop(&mut self) {
        self.0.count(self.1).fetch_sub(1, Ordering::Relaxed);
    }
}
