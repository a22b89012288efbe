//! QUIC's settings for the tunnel, each with its reason.
//!
//! Both ends use the same ones, but for who pings and who may open streams.

use crate::congestion::Handle;
use crate::limits::{
    ACK_THRESHOLD, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL, REQUEST_STREAM_WINDOW, RESPONSE_STREAM_WINDOW,
    SEND_WINDOW, UNAUTHENTICATED_RECEIVE_WINDOW, UNAUTHENTICATED_STREAMS_MAX,
};
use quinn_proto::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use std::time::Duration;

/// For the end that dials: it keeps the path alive and opens every stream. `congestion` is this
/// one connection's.
#[must_use]
pub fn client_config(congestion: &Handle) -> TransportConfig {
    let mut config = common_config(congestion);
    config.keep_alive_interval(Some(KEEP_ALIVE_INTERVAL));
    config.max_concurrent_bidi_streams(VarInt::from_u32(0));
    // The client opens every stream, so what a stream may hold bounds what all may. The sum needs
    // no bound of its own: with one, unread segments of a slow engine could take the last of it
    // from the small replies of all others.
    config.stream_receive_window(VarInt::from_u32(RESPONSE_STREAM_WINDOW));
    config.receive_window(VarInt::MAX);
    config
}

/// For the end that accepts; as for the other one, for one connection. Its receive window and its
/// number of streams are for strangers; a client that is authenticated gets
/// [`AUTHENTICATED_RECEIVE_WINDOW`](crate::limits::AUTHENTICATED_RECEIVE_WINDOW) and
/// [`STREAMS_PER_CLIENT_MAX`](crate::limits::STREAMS_PER_CLIENT_MAX).
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
    config.congestion_controller_factory(congestion.factory());
    config.max_concurrent_uni_streams(VarInt::from_u32(0));
    // Datagrams are not used; a peer that sends them is not ours.
    config.datagram_receive_buffer_size(None);
    config.max_idle_timeout(Some(IdleTimeout::from(millis(IDLE_TIMEOUT))));
    config.send_window(SEND_WINDOW);
    // Without it quinn keeps to a stream that it has begun, whatever priority others have: a small
    // reply, or a lost piece of an earlier segment, would wait behind the rest of a segment.
    // Segments have different priorities, so they aren't interleaved by it.
    config.send_fairness(true);
    // quinn's default of 333 ms makes the first probe timeout a second long; lines we serve have
    // 150 to 300 ms, and a premature probe costs one packet.
    config.initial_rtt(Duration::from_millis(100));
    // Reordering on long paths is common, and a packet wrongly held lost is sent twice and upsets
    // the congestion controller; waiting a little longer costs nothing on a line that doesn't lose.
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
