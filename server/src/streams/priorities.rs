//! In which order a connection sends its segments.

use std::sync::atomic::{AtomicI32, Ordering};

/// Numbers the segments of a connection in the order in which they begin, over all its bodies: older ones
/// are sent first, also when they are retransmitted, and no body starves another. Small responses have
/// urgency 0 and go before all of them. (Measured at 200 ms and 5 % loss: with one urgency for all, the first
/// 12 s carry 75.8 instead of 82.9 % of 100 Mbit/s, and 67.9 instead of 78.6 % of 300 Mbit/s, because the
/// path carries later segments while the reader waits for the next one.)
#[derive(Debug, Default)]
pub(crate) struct Priorities(AtomicI32);

impl Priorities {
    /// The urgency of the next segment, for [`ResponseStream::set_urgency`](super::ResponseStream::set_urgency).
    pub(crate) fn next_urgency(&self) -> i32 {
        // After 2^31 segments, a petabyte, the order is wrong for a moment, and nothing else is.
        (self.0.fetch_add(1, Ordering::Relaxed) & i32::MAX).saturating_add(1)
    }
}
