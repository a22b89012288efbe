//! The QUIC settings of client and server, each with its reason.
//!
//! They differ only in who pings and who may open streams. Must not differ in anything else.

use super::controller::Factory;
use docxy_protocol::congestion::Handle;
use docxy_protocol::limits::{
    ACK_THRESHOLD, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL, REQUEST_STREAM_WINDOW, RESPONSE_STREAM_WINDOW,
    SEND_WINDOW, UNAUTHENTICATED_RECEIVE_WINDOW, UNAUTHENTICATED_STREAMS_MAX,
};
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// The client's settings: it sends keep-alive pings and opens all streams. `congestion` is for one
/// connection.
#[must_use]
pub fn client_config(congestion: &Handle) -> TransportConfig {
    let mut config = common_config(congestion);
    config.keep_alive_interval(Some(KEEP_ALIVE_INTERVAL));
    config.max_concurrent_bidi_streams(VarInt::from_u32(0));
    // The client opens all streams, so the window of each stream limits the sum. With a separate limit of
    // the sum, unread segments of a slow engine could use it up and block the small replies of all others.
    config.stream_receive_window(VarInt::from_u32(RESPONSE_STREAM_WINDOW));
    config.receive_window(VarInt::MAX);
    config
}

/// The server's settings for one connection. Receive window and number of streams are those of an
/// unauthenticated client; an authenticated one gets
/// [`AUTHENTICATED_RECEIVE_WINDOW`](docxy_protocol::limits::AUTHENTICATED_RECEIVE_WINDOW) and
/// [`STREAMS_PER_CLIENT_MAX`](docxy_protocol::limits::STREAMS_PER_CLIENT_MAX).
#[must_use]
pub fn server_config(congestion: &Handle) -> TransportConfig {
    let mut config = common_config(congestion);
    config.max_concurrent_bidi_streams(VarInt::from_u32(UNAUTHENTICATED_STREAMS_MAX));
    config.stream_receive_window(VarInt::from_u32(REQUEST_STREAM_WINDOW));
    config.receive_window(VarInt::from_u32(UNAUTHENTICATED_RECEIVE_WINDOW));
    config
}

fn common_config(congestion: &Handle) -> TransportConfig {
    let mut config = TransportConfig::default();
    config.congestion_controller_factory(Arc::new(Factory::new(congestion)));
    config.max_concurrent_uni_streams(VarInt::from_u32(0));
    // The protocol has no datagrams.
    config.datagram_receive_buffer_size(None);
    config.max_idle_timeout(Some(IdleTimeout::from(millis(IDLE_TIMEOUT))));
    config.send_window(SEND_WINDOW);
    // Without it quinn first finishes the stream that it has begun, regardless of priorities: a small
    // reply, or a retransmission for an earlier segment, would wait for the rest of a segment. Segments
    // have different priorities, so it does not interleave them.
    config.send_fairness(true);
    // With quinn's default of 333 ms, the first probe timeout is one second. Typical paths have 150 to 300
    // ms, and a probe that is sent too early costs one packet.
    config.initial_rtt(Duration::from_millis(100));
    // Reordering is common on long paths. A packet that is wrongly declared lost is sent twice and misleads
    // the congestion controller; a later declaration costs nothing on a path without loss.
    config.packet_threshold(128).time_threshold(1.2);
    let mut mtu = MtuDiscoveryConfig::default();
    // Ethernet less IPv6 and UDP headers.
    mtu.upper_bound(1452);
    config.mtu_discovery_config(Some(mtu));
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD));
    config.ack_frequency_config(Some(acks));
    config
}

fn millis(duration: Duration) -> VarInt {
    VarInt::from_u32(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
}
