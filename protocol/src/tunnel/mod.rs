//! How the two sides connect: link, identity, frames, and the settings of TLS and QUIC.
//!
//! Must never open a socket.

pub mod control;
pub mod frame;
pub mod identity;
pub mod link;
pub mod tls;
pub mod transport;
pub mod udp_buffers;
