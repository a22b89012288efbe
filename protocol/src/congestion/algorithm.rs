//! The interface between QUIC and a congestion control algorithm: the events that a sender reports, and the
//! window that it gets back.
//!
//! Must never read a clock or touch a socket. Time is an argument, so that tests can replay a network.

use super::{PathMemory, Rate};
use std::time::{Duration, Instant};

/// A sender's congestion control algorithm.
///
/// Events come in the QUIC stack's order. For a batch of acknowledgements: `on_ack` for each acknowledged packet
/// in ascending order, then `on_end_acks`, then `on_loss` for the packets that the batch shows to be lost.
/// The QUIC stack paces at 1.25 × window ÷ smoothed RTT, so the window also sets the sending rate.
pub trait Algorithm {
    /// Packets of `bytes` bytes in total were sent. Packets that contain only acknowledgements are included.
    fn on_sent(&mut self, now: Instant, bytes: u64);

    /// A packet of `bytes` bytes, sent at `sent`, was acknowledged.
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64);

    /// The batch of acknowledgements is complete. `in_flight` still includes packets that `on_loss` will
    /// report. `app_limited`: the application had nothing more to send before the batch arrived.
    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool);

    /// `bytes` bytes were declared lost; the newest of these packets was sent at `sent`. `persistent`:
    /// persistent congestion (RFC 9002, section 7.6).
    fn on_loss(&mut self, now: Instant, sent: Instant, bytes: u64, persistent: bool);

    /// The maximum packet size is `mtu` from now on.
    fn on_mtu_update(&mut self, mtu: u16);

    /// Congestion window: bytes that may be in flight, never 0.
    fn window(&self) -> u64;

    /// What the algorithm has measured, for logs and for a later connection.
    fn measured(&self) -> Measured;
}

/// What a congestion control algorithm has measured on its path.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// The state of the algorithm, in a word.
    pub phase: &'static str,
    /// Congestion window in bytes.
    pub window: u64,
    /// Delivery rate of the path.
    pub rate: Option<Rate>,
    /// RTT without queues.
    pub min_rtt: Option<Duration>,
    /// Loss rate of the path itself, which does not depend on the sending rate.
    pub loss: Option<f64>,
    /// What a later connection can reuse, once a bulk transfer has measured it.
    pub memory: Option<PathMemory>,
}
