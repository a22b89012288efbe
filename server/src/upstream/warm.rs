//! Keeps the way to a registry warm while it is in use: a connection to each of its hosts, and tokens
//! that don't end between two requests.
//!
//! What it asks for costs no quota, and it falls silent when nobody pulls any more.

use super::registry::Registry;
use std::sync::Weak;
use std::time::Duration;

/// Time between looks. Unused connections are given up after
/// [`POOL_IDLE`](super::origin::POOL_IDLE), and no host may be left out for two looks together.
const INTERVAL: Duration = Duration::from_secs(20);

/// Runs until the registry is gone.
pub(super) async fn keep(registry: Weak<Registry>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(registry) = registry.upgrade() else { return };
        registry.keep_warm().await;
    }
}
