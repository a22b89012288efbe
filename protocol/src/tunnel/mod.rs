//! How the two sides connect: link, identity, frames.
//!
//! Must never open a socket.

pub mod control;
pub mod frame;
pub mod identity;
pub mod link;
pub mod tls;
pub mod version;
