//! Peers that lie, flood or never finish: they harm no other client, engine or network.

mod corrupt_blobs;
mod dns_rebinding;
mod half_open_handshakes;
mod idle_local_connections;
mod log_flood;
mod malformed_responses;
mod misbehaving_clients;
mod private_networks;
mod redirects;
mod server_texts;
