//! What all transfers share: the tunnel, the timeouts, the credentials and the cache.

use super::registry::TransferRegistry;
use crate::counters::TransferCounters;
use crate::credentials::Credentials;
use crate::metadata::Metadata;
use crate::tunnel::Tunnel;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// How long an interrupted transfer waits for its next byte. Can change while transfers run.
pub(crate) type StallTimeout = Arc<RwLock<Duration>>;

/// What all transfers share. Clones share it too.
#[derive(Debug, Clone)]
pub(crate) struct TransferContext {
    pub(crate) tunnel: Tunnel,
    pub(crate) stall_timeout: StallTimeout,
    pub(crate) credentials: Credentials,
    pub(crate) registry: TransferRegistry,
    pub(crate) metadata: Metadata,
    pub(crate) counters: TransferCounters,
}
