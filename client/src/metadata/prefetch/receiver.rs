//! Receives the prefetched content after a response, and caches it.
//!
//! Never delays the engine. Continues if the engine leaves, since the prefetch is limited and the next engine
//! may request the same.

use super::in_flight::PrefetchGuard;
use super::usage::PrefetchUsage;
use crate::exchange::PrefetchStream;
use crate::metadata::cache::{CacheKey, CacheScope, ContentCache};
use docxy_host::store::Content;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the next item may take. The server sends what it has or fetches from nearby, and a waiting
/// request could have fetched it itself by then.
const ITEM_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads until the end, or until an item does not match its digest.
pub(crate) async fn receive(
    prefetch: oneshot::Receiver<PrefetchStream>,
    scope: CacheScope,
    cache: ContentCache,
    usage: PrefetchUsage,
    guard: PrefetchGuard,
) {
    // The engine may read the body slowly, or not to its end.
    let Ok(mut prefetch) = prefetch.await else { return };
    loop {
        let next = tokio::time::timeout(ITEM_TIMEOUT, prefetch.next()).await;
        let (item, bytes) = match next {
            Ok(Ok(Some(next))) => next,
            Ok(Ok(None)) => return,
            Ok(Err(reason)) => return tracing::debug!(%reason, "prefetch ended early"),
            Err(_) => return tracing::debug!("prefetch stalled"),
        };
        let key = CacheKey { scope: scope.clone(), digest: item.digest().clone() };
        match Content::check(item.digest().clone(), item.kind().clone(), bytes).await {
            Ok(entry) => {
                tracing::debug!(content = %key, bytes = entry.bytes().len(), "prefetched");
                usage.arrived(&key, entry.bytes().len());
                cache.put(&key, &Arc::new(entry));
                guard.notify();
            }
            // The tunnel is authenticated, so only the server can have sent wrong content.
            Err(mismatch) => {
                usage.rejected();
                return tracing::warn!(
                    hop = "docxy server", registry = %scope.registry, repository = %scope.repository,
                    reason = %mismatch, "prefetched content does not match its digest; it is not cached"
                );
            }
        }
    }
}
