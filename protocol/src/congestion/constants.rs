//! What the algorithms have in common.

use crate::limits::ACK_THRESHOLD;
use std::time::Duration;

/// The window before anything is measured, in bytes: it saves two round trips on a long path, compared to RFC
/// 9002's 14,720. The QUIC stack paces these bytes, and an 8 Mbit/s link sends them in a quarter of a second.
pub(crate) const INITIAL_WINDOW: f64 = 256.0 * 1024.0;

/// Minimum congestion window, in packets: the packets that trigger an immediate acknowledgement, and one
/// more, since a window is rarely filled completely. With less, each round trip waits for the receiver's ack
/// delay, and on a short path min_rtt would include that delay.
pub(crate) const MIN_WINDOW_PACKETS: f64 = ACK_THRESHOLD as f64 + 2.0;

/// Minimum congestion window in bytes, at `rate` bytes per second: what leaves within the receiver's maximum
/// ack delay (25 ms, the QUIC stack's default), but at least [`MIN_WINDOW_PACKETS`] and at most twice as many packets,
/// of which one half is acknowledged while the other half is in flight.
pub(crate) fn min_window(rate: f64, mtu: f64) -> f64 {
    const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
    (rate * MAX_ACK_DELAY.as_secs_f64()).clamp(MIN_WINDOW_PACKETS * mtu, 2.0 * MIN_WINDOW_PACKETS * mtu)
}

/// How long a busy host may delay a packet. On a path shorter than that, the jitter is many round trips. A
/// queue that drains within this time disturbs no application.
pub(crate) const HOST_JITTER: Duration = Duration::from_millis(6);
