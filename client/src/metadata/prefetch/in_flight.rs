//! The prefetches in flight. A request for their content waits for it, since sending the request too would
//! transfer the content twice.
//!
//! A request never waits for content that no prefetch brings, nor longer than the stream is open.

use crate::cache::ContentCache;
use crate::cache::{CacheEntry, CacheKey, CacheScope};
use crate::cache::{DescriptorIndex, Role};
use docxy_protocol::limits::PREFETCH_BLOB_BYTES_MAX;
use docxy_protocol::prefetch::PrefetchHint;
use futures_util::FutureExt as _;
use futures_util::future::select_all;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest wait. An engine that does not read the response before the prefetch must not block others.
const PREFETCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// The open streams. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlightPrefetches(Arc<Mutex<Vec<OpenStream>>>);

#[derive(Debug)]
struct OpenStream {
    scope: CacheScope,
    hint: PrefetchHint,
    /// The number of received items.
    items: watch::Receiver<u32>,
}

/// Keeps its stream in the list until it is dropped.
#[derive(Debug)]
pub(crate) struct PrefetchGuard {
    in_flight: InFlightPrefetches,
    items: watch::Sender<u32>,
}

impl InFlightPrefetches {
    /// Adds a stream with this hint.
    pub(crate) fn open(&self, scope: CacheScope, hint: PrefetchHint) -> PrefetchGuard {
        let items = watch::Sender::new(0);
        self.0.lock().push(OpenStream { scope, hint, items: items.subscribe() });
        PrefetchGuard { in_flight: self.clone(), items }
    }

    /// Waits until the content is cached, no open stream may bring it, or `until`.
    pub(crate) async fn wait(
        &self,
        cache: &ContentCache,
        key: &CacheKey,
        until: Instant,
    ) -> Option<CacheEntry> {
        let until = until.min(Instant::now() + PREFETCH_WAIT_MAX);
        tokio::time::timeout_at(until.into(), self.wait_for_entry(cache, key)).await.ok()?
    }

    async fn wait_for_entry(&self, cache: &ContentCache, key: &CacheKey) -> Option<CacheEntry> {
        loop {
            // Subscribe before the cache lookup, so that an item in between is noticed.
            let mut streams = self.matching_streams(key, cache.descriptor_index());
            if let Some(entry) = cache.get_from_memory(key) {
                return Some(entry);
            }
            if streams.is_empty() {
                return None;
            }
            // The end of a stream wakes this too.
            let _ = select_all(streams.iter_mut().map(|items| items.changed().boxed())).await;
        }
    }

    fn matching_streams(
        &self,
        key: &CacheKey,
        descriptor_index: &DescriptorIndex,
    ) -> Vec<watch::Receiver<u32>> {
        let role = descriptor_index.role(&key.digest);
        let open = self.0.lock();
        let bring =
            open.iter().filter(|stream| stream.scope == key.scope && may_bring(&stream.hint, role.as_ref()));
        bring.map(|stream| stream.items.clone()).map(mark_seen).collect()
    }
}

impl PrefetchGuard {
    /// Wakes the waiting requests after an item.
    pub(crate) fn notify(&self) {
        self.items.send_modify(|items| *items += 1);
    }
}

impl Drop for PrefetchGuard {
    fn drop(&mut self) {
        // Remove the stream before the drop of the sender wakes the waiting requests.
        let ours = self.items.subscribe();
        self.in_flight.0.lock().retain(|stream| !stream.items.same_channel(&ours));
    }
}

/// A receiver that waits for later items only.
fn mark_seen(mut items: watch::Receiver<u32>) -> watch::Receiver<u32> {
    items.mark_unchanged();
    items
}

/// Whether a stream with this hint may bring content of this role. Content of unknown role is assumed to match.
fn may_bring(hint: &PrefetchHint, role: Option<&Role>) -> bool {
    match role {
        None => true,
        // Several platforms of the index may match.
        Some(Role::Image(platform)) => {
            platform.as_ref().is_none_or(|platform| hint.platform.match_rank(platform).is_some())
        }
        Some(Role::Blob(size)) => hint.small_blobs && *size <= PREFETCH_BLOB_BYTES_MAX as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry_tests::{blob, key, manifest};
    use docxy_protocol::platform::Platform;

    /// Longer than a request takes that does not wait.
    const PENDING_AFTER: Duration = Duration::from_millis(50);

    fn hint() -> PrefetchHint {
        PrefetchHint { platform: Platform::local(), small_blobs: true, known: None }
    }

    async fn wait(
        in_flight: &InFlightPrefetches,
        cache: &ContentCache,
        key: &CacheKey,
    ) -> Option<CacheEntry> {
        in_flight.wait(cache, key, Instant::now() + PREFETCH_WAIT_MAX).await
    }

    async fn is_pending(waiting: impl Future) -> bool {
        tokio::time::timeout(PENDING_AFTER, waiting).await.is_err()
    }

    #[tokio::test]
    async fn a_request_waits_until_its_content_arrives_or_the_stream_ends() {
        let (in_flight, cache) = (InFlightPrefetches::default(), ContentCache::open(None));
        let (config, other) = (blob(b"config"), blob(b"other"));
        let here = key("docker.io", "a", &config);
        assert_eq!(wait(&in_flight, &cache, &here).await, None, "nothing is in flight");
        let open = in_flight.open(here.scope.clone(), hint());
        assert!(is_pending(wait(&in_flight, &cache, &here)).await);
        let elsewhere = key("docker.io", "b", &config);
        assert_eq!(wait(&in_flight, &cache, &elsewhere).await, None, "another repository's stream");

        let (waiting, wait_for_entry) = tokio::join!(wait(&in_flight, &cache, &here), async {
            tokio::task::yield_now().await;
            cache.put(&key("docker.io", "a", &other), &other);
            open.notify();
            tokio::task::yield_now().await;
            cache.put(&here, &config);
            open.notify();
        });
        assert_eq!((waiting, wait_for_entry), (Some(config), ()));

        let missing = key("docker.io", "a", &blob(b"missing"));
        let (waiting, ()) = tokio::join!(wait(&in_flight, &cache, &missing), async {
            tokio::task::yield_now().await;
            drop(open);
        });
        assert_eq!(waiting, None);
        assert!(in_flight.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_request_does_not_wait_for_content_that_does_not_come() {
        let (in_flight, cache) = (InFlightPrefetches::default(), ContentCache::open(None));
        let layer = |size: u64, bytes: &[u8]| (size, blob(bytes));
        let (large, small) = (layer(PREFETCH_BLOB_BYTES_MAX as u64 + 1, b"large"), layer(10, b"small"));
        let descriptor = |(size, entry): &(u64, CacheEntry)| serde_json::json!({ "mediaType": "m", "digest": entry.digest(), "size": size });
        let image = serde_json::json!({
            "schemaVersion": 2, "config": descriptor(&small), "layers": [descriptor(&large)],
        });
        let image = manifest("application/vnd.oci.image.manifest.v1+json", image.to_string().as_bytes());
        let of = |entry: &CacheEntry| key("docker.io", "a", entry);
        let _open = in_flight.open(of(&image).scope, hint());
        assert!(is_pending(wait(&in_flight, &cache, &of(&large.1))).await, "its size is unknown");
        cache.put(&of(&image), &image);
        assert_eq!(wait(&in_flight, &cache, &of(&large.1)).await, None);
        assert!(is_pending(wait(&in_flight, &cache, &of(&small.1))).await);
    }
}
