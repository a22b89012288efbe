//! The testbed and the peers that tests control.

mod clients;
pub(crate) mod observed;
mod registries;
pub(crate) mod relay;
pub(crate) mod relayed_testbed;
pub(crate) mod screen;
pub(crate) mod scripted_server;
pub(crate) mod tcp_relay;
pub(crate) mod terminal;
pub(crate) mod testbed;

pub(crate) use clients::{http_client, quic_client, quic_packets, raw_http, wire_client};
pub(crate) use registries::{proxied_hub, scripted_registry, token_registry, two_registries};
