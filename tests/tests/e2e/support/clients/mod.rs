//! What speaks to the programs under test: engines, strangers, and clients of the tunnel below HTTP.

pub(crate) mod http_client;
pub(crate) mod quic_client;
pub(crate) mod quic_packets;
pub(crate) mod raw_http;
pub(crate) mod wire_client;
