//! Keeps a registry ready while it is in use: an open connection to each of its hosts, and tokens that
//! do not expire between two requests.
//!
//! Must never send a request that counts against the rate limit, or any while the registry is not in use.

use super::authorized_registry::AuthorizedRegistry;
use std::sync::Weak;
use std::time::Duration;

/// The time between two rounds. An idle connection closes after
/// [`POOL_IDLE_TIMEOUT`](crate::upstream::http::client::POOL_IDLE_TIMEOUT), so a round may fail once for a host.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Runs until the registry is gone.
pub(in crate::upstream) async fn run(registry: Weak<AuthorizedRegistry>) {
    loop {
        tokio::time::sleep(KEEP_ALIVE_INTERVAL).await;
        let Some(registry) = registry.upgrade() else { return };
        registry.keep_alive().await;
    }
}
