//! What is on its way behind an answer: whoever asks for it waits, since asking again would cross
//! the sea once more for what is nearly here.
//!
//! Nobody waits for what isn't to come, nor longer than the stream is open.

use super::kept::{Home, Kept, Key};
use super::outlines::{Outlines, Role};
use super::store::Store;
use docxy_protocol::limits::PREFETCH_BLOB_MAX;
use docxy_protocol::prefetch::PrefetchHint;
use futures_util::FutureExt as _;
use futures_util::future::select_all;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest wait: an engine that takes no more of the answer in front must not hold up others.
const PATIENCE: Duration = Duration::from_secs(10);

/// The streams that are open. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Coming(Arc<Mutex<Vec<Stream>>>);

#[derive(Debug)]
struct Stream {
    home: Home,
    wish: PrefetchHint,
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
    pub(super) fn open(&self, home: Home, wish: PrefetchHint) -> Open {
        let items = watch::Sender::new(0);
        self.streams().push(Stream { home, wish, items: items.subscribe() });
        Open { coming: self.clone(), items }
    }

    /// Waits until the content has come, no open stream may still bring it, or `until`.
    pub(super) async fn wait(&self, store: &Store, key: &Key, until: Instant) -> Option<Kept> {
        let until = until.min(Instant::now() + PATIENCE);
        tokio::time::timeout_at(until.into(), self.arrival(store, key)).await.ok()?
    }

    async fn arrival(&self, store: &Store, key: &Key) -> Option<Kept> {
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
fn may_bring(wish: &PrefetchHint, role: Option<&Role>) -> bool {
    match role {
        None => true,
        // Any of several that would run there.
        Some(Role::Image(platform)) => {
            platform.as_ref().is_none_or(|platform| wish.platform.match_rank(platform).is_some())
        }
        Some(Role::Blob(size)) => wish.small_blobs && *size <= PREFETCH_BLOB_MAX as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{blob, key, manifest};
    use super::*;
    use docxy_protocol::platform::Platform;

    /// Long enough for whoever doesn't wait.
    const MOMENT: Duration = Duration::from_millis(50);

    fn wish() -> PrefetchHint {
        PrefetchHint { platform: Platform::local(), small_blobs: true, known: None }
    }

    async fn wait(coming: &Coming, store: &Store, key: &Key) -> Option<Kept> {
        coming.wait(store, key, Instant::now() + PATIENCE).await
    }

    async fn stands_still(waiting: impl Future) -> bool {
        tokio::time::timeout(MOMENT, waiting).await.is_err()
    }

    #[tokio::test]
    async fn whoever_asks_for_what_may_come_waits_until_it_has_or_will_not() {
        let (coming, store) = (Coming::default(), Store::open(None));
        let (config, other) = (blob(b"config"), blob(b"other"));
        let here = key("docker.io", "a", &config);
        assert_eq!(wait(&coming, &store, &here).await, None, "nothing is under way");
        let open = coming.open(here.home.clone(), wish());
        assert!(stands_still(wait(&coming, &store, &here)).await);
        let elsewhere = key("docker.io", "b", &config);
        assert_eq!(wait(&coming, &store, &elsewhere).await, None, "another repository's stream");

        let (waiting, arrival) = tokio::join!(wait(&coming, &store, &here), async {
            tokio::task::yield_now().await;
            store.put(key("docker.io", "a", &other), other.clone());
            open.arrived();
            tokio::task::yield_now().await;
            store.put(here.clone(), config.clone());
            open.arrived();
        });
        assert_eq!((waiting, arrival), (Some(config), ()));

        let missing = key("docker.io", "a", &blob(b"missing"));
        let (waiting, ()) = tokio::join!(wait(&coming, &store, &missing), async {
            tokio::task::yield_now().await;
            drop(open);
        });
        assert_eq!(waiting, None);
        assert!(coming.streams().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_not_to_come() {
        let (coming, store) = (Coming::default(), Store::open(None));
        let layer = |size: u64, bytes: &[u8]| (size, blob(bytes));
        let (large, small) = (layer(PREFETCH_BLOB_MAX as u64 + 1, b"large"), layer(10, b"small"));
        let descriptor = |(size, kept): &(u64, Kept)| serde_json::json!({ "mediaType": "m", "digest": kept.digest(), "size": size });
        let image = serde_json::json!({
            "schemaVersion": 2, "config": descriptor(&small), "layers": [descriptor(&large)],
        });
        let image = manifest("application/vnd.oci.image.manifest.v1+json", image.to_string().as_bytes());
        let of = |kept: &Kept| key("docker.io", "a", kept);
        let _open = coming.open(of(&image).home, wish());
        assert!(stands_still(wait(&coming, &store, &of(&large.1))).await, "nobody knows that it is large");
        store.put(of(&image), image);
        assert_eq!(wait(&coming, &store, &of(&large.1)).await, None);
        assert!(stands_still(wait(&coming, &store, &of(&small.1))).await);
    }
}
