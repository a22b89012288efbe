//! Addresses, sockets, and what lies between them and a host: several addresses, proxies, a page's origin.
//!
//! Must never show a proxy's password, or know what a connection carries.

pub mod happy_eyeballs;
pub mod listen_address;
pub mod private_socket;
pub mod proxy;
pub mod web_origin;
