//! The testbed and the peers that tests control.

pub(crate) mod http_client;
pub(crate) mod observed;
pub(crate) mod proxied_hub;
pub(crate) mod quic_client;
pub(crate) mod quic_packets;
pub(crate) mod raw_http;
pub(crate) mod relay;
pub(crate) mod relayed_testbed;
pub(crate) mod scripted_registry;
pub(crate) mod scripted_server;
pub(crate) mod tcp_relay;
pub(crate) mod terminal;
pub(crate) mod testbed;
pub(crate) mod token_registry;
pub(crate) mod two_registries;
pub(crate) mod wire_client;
