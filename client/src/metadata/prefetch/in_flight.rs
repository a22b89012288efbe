//! The prefetches in flight. A request for their content waits for it, since sending the request too would
//! transfer the content twice.
//!
//! A request never waits for content that no prefetch brings, nor longer than the stream is open.

use crate::metadata::cache::{CacheEntry, CacheKey, CacheScope, ContentCache, Role};
use docxy_protocol::limits::PREFETCH_BLOB_BYTES_MAX;
use docxy_protocol::prefetch::PrefetchHint;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest wait. An engine that does not read the response before the prefetch must not block others.
const PREFETCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// The open streams. Clones share them. Every item that arrives counts as a change.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlightPrefetches(watch::Sender<Vec<Arc<OpenStream>>>);

#[derive(Debug)]
struct OpenStream {
    scope: CacheScope,
    hint: PrefetchHint,
}

/// Keeps its stream in the list until it is dropped.
#[derive(Debug)]
pub(crate) struct PrefetchGuard {
    in_flight: InFlightPrefetches,
    stream: Arc<OpenStream>,
}

impl InFlightPrefetches {
    /// Adds a stream with this hint.
    pub(crate) fn open(&self, scope: CacheScope, hint: PrefetchHint) -> PrefetchGuard {
        let stream = Arc::new(OpenStream { scope, hint });
        self.0.send_modify(|streams| streams.push(Arc::clone(&stream)));
        PrefetchGuard { in_flight: self.clone(), stream }
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
        let mut streams = self.0.subscribe();
        loop {
            let role = cache.descriptor_index().role(&key.digest);
            // Before the cache lookup, so that an item in between is noticed.
            let may_come = streams
                .borrow_and_update()
                .iter()
                .any(|stream| stream.scope == key.scope && may_bring(&stream.hint, role.as_ref()));
            if let Some(entry) = cache.get_from_memory(key) {
                return Some(entry);
            }
            if !may_come {
                return None;
            }
            streams.changed().await.ok()?;
        }
    }
}

impl PrefetchGuard {
    /// Wakes the waiting requests after an item.
    pub(crate) fn notify(&self) {
        self.in_flight.0.send_modify(|_| {});
    }
}

impl Drop for PrefetchGuard {
    fn drop(&mut self) {
        self.in_flight.0.send_modify(|streams| streams.retain(|open| !Arc::ptr_eq(open, &self.stream)));
    }
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
    use crate::metadata::cache::entry_tests::{blob, key, manifest};
    use docxy_protocol::platform::Platform;

    /// Longer than a request takes that does not wait.
    const PENDING_AFTER: Duration = Duration::from_millis(50);

    fn hint() -> PrefetchHint {
        PrefetchHint { platform: Platform::local(), small_blobs: true, known: None, layer_segments: 0 }
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
        assert!(in_flight.0.borrow().is_empty());
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
