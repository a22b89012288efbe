//! Keeps what comes behind an answer.
//!
//! Runs beside the engine and never holds it up; goes on when the engine is gone, since it is
//! bounded and the next one may ask for the same.

use super::coming::Open;
use super::kept::{Home, Kept, Key};
use super::store::Store;
use crate::exchange::Behind;
use std::time::Duration;

/// How long the next item may take. The server sends nothing that it hasn't got or isn't fetching
/// from nearby, and whoever waits for an item could have asked for it by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads to the end, or to the first item that isn't what it claims to be.
pub(super) async fn read(mut behind: Behind, home: Home, store: Store, coming: Open) {
    // An engine may take its time with the body in front.
    if !behind.begins().await {
        return;
    }
    loop {
        let next = tokio::time::timeout(PATIENCE, behind.next()).await;
        let (item, bytes) = match next {
            Ok(Ok(Some(next))) => next,
            Ok(Ok(None)) => return,
            Ok(Err(reason)) => return tracing::debug!(%reason, "nothing more comes ahead"),
            Err(_) => return tracing::debug!("what comes ahead has stalled"),
        };
        let key = Key { home: home.clone(), digest: item.digest().clone() };
        match Kept::check_on_a_thread(item.digest().clone(), item.kind().clone(), bytes).await {
            Ok(kept) => {
                tracing::debug!(content = %key, bytes = kept.bytes().len(), "came ahead");
                store.put(key, kept);
                coming.arrived();
            }
            // The tunnel is authenticated end to end, so it was not the line.
            Err(poisoned) => {
                return tracing::warn!(
                    hop = "docxy server", registry = %home.registry, repository = %home.repository,
                    reason = %poisoned, "what came ahead is wrong, and was not kept"
                );
            }
        }
    }
}
