//! The seam between QUIC and a congestion control: what a sender is told, and the one thing it may say.
//!
//! No sockets, no clock: time is an argument, so that a test can replay any network.

use super::{PathMemory, Rate};
use std::time::{Duration, Instant};

/// A sender's congestion control.
///
/// Events come in the order in which quinn-proto has them: for a batch of acknowledgements first
/// each acknowledged packet, ascending; then the end of the batch; then what it shows to be lost.
/// quinn paces at 1.25 × window ÷ smoothed round trip, so the window sets the rate.
pub trait Algorithm {
    /// Packets left, `bytes` in all. Acknowledgements alone are among them.
    fn on_sent(&mut self, now: Instant, bytes: u64);

    /// A packet that had left at `sent` arrived.
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64);

    /// The batch of acknowledgements is complete. `in_flight` still counts what will be found
    /// lost; `app_limited` says that there was nothing to send before it came.
    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool);

    /// `bytes` were found lost, the newest of which had left at `sent`. `persistent`: nothing at
    /// all got through for a while (RFC 9002, section 7.6).
    fn on_loss(&mut self, now: Instant, sent: Instant, bytes: u64, persistent: bool);

    /// Packets can be as large as this from now on.
    fn on_mtu_update(&mut self, mtu: u16);

    /// Bytes that may be in flight; never 0.
    fn window(&self) -> u64;

    /// What it knows, for people and for a later connection.
    fn measured(&self) -> Measured;
}

/// What a congestion control has learnt of its path.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// What it is doing, in a word.
    pub phase: &'static str,
    /// Bytes that may be in flight.
    pub window: u64,
    /// What the path delivers.
    pub rate: Option<Rate>,
    /// The round trip without queues.
    pub min_rtt: Option<Duration>,
    /// Share of packets that is lost whatever is sent.
    pub loss: f64,
    /// What is worth remembering, once bulk has shown it.
    pub memory: Option<PathMemory>,
}
