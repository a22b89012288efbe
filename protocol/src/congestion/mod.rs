//! Congestion control of our own: what a sender may have in flight.
//!
//! Must never read a clock or touch a socket; time is an argument, so that tests replay networks.

mod algorithm;
mod auto;
mod choice;
mod fixed;
mod handle;
mod quinn_controller;
mod rate;

pub use algorithm::{Algorithm, Measured};
pub use auto::Auto;
pub use choice::{Choice, PathMemory};
pub use fixed::Fixed;
pub use handle::Handle;
pub use rate::{Rate, RateError};

use crate::limits::ACK_THRESHOLD;
use std::time::Duration;

/// The least that may be under way, in packets: what is acknowledged at once, and one more, since a window
/// is never quite filled. With less, each round trip would wait for the receiver's timer, and on a short
/// path that would be taken for the path's.
const MIN_WINDOW_PACKETS: f64 = ACK_THRESHOLD as f64 + 2.0;

/// The same in bytes, at this rate (bytes per second): what leaves while less than that would wait for the
/// receiver's timer (25 ms, quinn's), but no more than twice as much, of which one half is acknowledged while
/// the other is under way.
fn min_window(rate: f64, mtu: f64) -> f64 {
    const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
    (rate * MAX_ACK_DELAY.as_secs_f64()).clamp(MIN_WINDOW_PACKETS * mtu, 2.0 * MIN_WINDOW_PACKETS * mtu)
}

/// How late a busy host may be with a packet. Where the path is shorter than that, its jitter is many round
/// trips; and a queue that takes no longer to drain, nobody notices.
const HOST_JITTER: Duration = Duration::from_millis(6);
