//! What is on its way behind an answer: whoever asks for it waits, since asking again would cross
//! the sea once more for what is nearly here.
//!
//! Nobody waits for what isn't to come, nor longer than the stream is open.

use super::kept::{Home, Kept, Key};
use super::outlines::{Outlines, Role};
use super::store::Store;
use docxy_protocol::ahead::Wish;
use docxy_protocol::limits::MAX_SMALL_BLOB;
use futures_util::FutureExt as _;
use futures_util::future::select_all;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The streams that are open. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Coming(Arc<Mutex<Vec<Stream>>>);

#[derive(Debug)]
struct Stream {
    home: Home,
    wish: Wish,
    /// Counts the items.
    items: watch::Receiver<u32>,
}

/// A stream that brings content of a repository, until this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    coming: Coming,
    items: watch::Sender<u32>,
}

impl Coming {
    /// A stream that follows this wish.
    pub(super) fn open(&self, home: Home, wish: Wish) -> Open {
        let items = watch::Sender::new(0);
        self.streams().push(Stream { home, wish, items: items.subscribe() });
        Open { coming: self.clone(), items }
    }

    /// Waits until the content has come, or no open stream may still bring it.
    pub(super) async fn wait(&self, store: &Store, key: &Key) -> Option<Kept> {
        loop {
            // Before the look into the store, so that what comes in between is noticed.
            let mut streams = self.streams_for(key, store.outlines());
            if let Some(kept) = store.recall(key) {
                return Some(kept);
            }
            if streams.is_empty() {
                return None;
            }
            // An end wakes as well as an item does.
            let _ = select_all(streams.iter_mut().map(|items| items.changed().boxed())).await;
        }
    }

    fn streams_for(&self, key: &Key, outlines: &Outlines) -> Vec<watch::Receiver<u32>> {
        let role = outlines.role(&key.digest);
        let open = self.streams();
        let bring =
            open.iter().filter(|stream| stream.home == key.home && may_bring(&stream.wish, role.as_ref()));
        bring.map(|stream| stream.items.clone()).map(seen).collect()
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Tells those who wait that something has come.
    pub(super) fn arrived(&self) {
        self.items.send_modify(|items| *items += 1);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Before the sender goes, which wakes those who wait.
        let ours = self.items.subscribe();
        self.coming.streams().retain(|stream| !stream.items.same_channel(&ours));
    }
}

/// A receiver that waits for what comes from now on.
fn seen(mut items: watch::Receiver<u32>) -> watch::Receiver<u32> {
    items.mark_unchanged();
    items
}

/// Whether a stream for this wish may bring what has this role. What nobody knows may come.
fn may_bring(wish: &Wish, role: Option<&Role>) -> bool {
    match role {
        None => true,
        // Any of several that would run there.
        Some(Role::Image(platform)) => {
            platform.as_ref().is_none_or(|platform| wish.platform.fit(platform).is_some())
        }
        Some(Role::Blob(size)) => *size <= MAX_SMALL_BLOB as u64,
    }
}
