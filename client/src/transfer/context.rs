//! What all transfers share: the tunnel, the timeouts, the credentials and the cache.

use super::registry::TransferRegistry;
use super::stall_timeout::StallTimeout;
use crate::counters::TransferCounters;
use crate::credentials::Credentials;
use crate::metadata::Metadata;
use crate::tunnel::Tunnel;

/// What all transfers share. Clones share it too.
#[derive(Debug, Clone)]
pub(crate) struct TransferContext {
    pub(crate) tunnel: Tunnel,
    /// How long an interrupted transfer waits for its next byte.
    pub(crate) stall_timeout: StallTimeout,
    pub(crate) credentials: Credentials,
    pub(crate) registry: TransferRegistry,
    pub(crate) metadata: Metadata,
    pub(crate) counters: TransferCounters,
}
