//! The limits that follow the memory of the server's machine: those of [`docxy_protocol::limits`], or their part on a
//! small machine.
//!
//! Must never exceed those: they have other reasons too.

use docxy_protocol::limits::{
    SEND_BUDGET_SEGMENTS, STORED_MANIFEST_BYTES_MAX, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY,
    UNAUTHENTICATED_CONNECTIONS_MAX, UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX, UPSTREAM_REQUESTS_MAX,
};

/// The memory from which all limits are whole. A server at all of them at once takes about half a GiB: up to 256 MiB for
/// its clients, and as much for strangers. The rest is for the kernel's socket buffers and the system.
const WHOLE_FROM_BYTES: u64 = 1024 * 1024 * 1024;

/// The parts of a limit. They have 16 MiB of memory each.
const PARTS: u64 = 64;

/// The least parts of a limit: those of 64 MiB, which barely hold the program and a system.
const PARTS_MIN: u64 = 4;

/// The limits, in proportion to the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimits {
    /// Segments that the server holds for sending.
    pub(crate) send_segments: usize,
    /// Requests to registries at the same time, each with its buffers.
    pub(crate) upstream_requests: usize,
    /// Unauthenticated connections at the same time.
    pub(crate) unauthenticated: usize,
    /// Those of one network.
    pub(crate) unauthenticated_per_network: usize,
    /// Those above which an address must be validated.
    pub(crate) unauthenticated_before_retry: usize,
    /// Bytes of manifests in memory.
    pub(crate) manifest_bytes: usize,
}

impl MemoryLimits {
    /// The limits of a server that may use so many bytes of memory.
    pub(crate) fn of(memory: u64) -> Self {
        let parts = (memory / (WHOLE_FROM_BYTES / PARTS)).clamp(PARTS_MIN, PARTS);
        let of = |limit: usize| limit * parts as usize / PARTS as usize;
        Self {
            send_segments: of(SEND_BUDGET_SEGMENTS),
            upstream_requests: of(UPSTREAM_REQUESTS_MAX),
            unauthenticated: of(UNAUTHENTICATED_CONNECTIONS_MAX),
            unauthenticated_per_network: of(UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX),
            unauthenticated_before_retry: of(UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY),
            manifest_bytes: of(STORED_MANIFEST_BYTES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_memory_and_end_at_those_of_the_protocol() {
        let limits = |memory: u64| {
            let limits = MemoryLimits::of(memory);
            let MemoryLimits { send_segments, upstream_requests, unauthenticated, .. } = limits;
            let strangers = (limits.unauthenticated_per_network, limits.unauthenticated_before_retry);
            (send_segments, upstream_requests, unauthenticated, strangers, limits.manifest_bytes >> 20)
        };
        assert_eq!(limits(256 << 20), (40, 192, 256, (128, 64), 2));
        assert_eq!(limits(512 << 20), (80, 384, 512, (256, 128), 4));
        let whole = (
            SEND_BUDGET_SEGMENTS,
            UPSTREAM_REQUESTS_MAX,
            UNAUTHENTICATED_CONNECTIONS_MAX,
            (UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY),
            STORED_MANIFEST_BYTES_MAX >> 20,
        );
        assert_eq!((limits(4 << 30), limits(u64::MAX)), (whole, whole));
        assert_eq!(limits(0), (10, 48, 64, (32, 16), 0), "no limit is 0");
    }
}
