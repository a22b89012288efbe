//! Numbers about the path to the peer.

use std::time::Duration;

/// A session's path at one moment. Counts are since the start of the session, over all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Path {
    /// The estimated round-trip time.
    pub rtt: Duration,
    /// Bytes sent, with the leg's own headers.
    pub bytes_sent: u64,
    /// Bytes received, with the leg's own headers, without its padding.
    pub bytes_received: u64,
    /// Datagrams received: any sign of life of the peer counts.
    pub datagrams_received: u64,
    /// What was sent and has to be acknowledged (in QUIC: ack-eliciting frames).
    pub ack_eliciting_sent: u64,
    /// Packets sent. A leg whose congestion control is not ours counts none.
    pub packets_sent: u64,
    /// Those of them that were lost.
    pub packets_lost: u64,
    /// Congestion window in bytes.
    pub congestion_window: u64,
}
