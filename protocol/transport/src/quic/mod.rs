//! The QUIC leg: one connection for each session.
//!
//! Must never use 0-RTT or resume a TLS session: both can be replayed.

mod connection;
mod controller;
mod dial;
mod error;
mod listener;
pub mod settings;
mod socket;
pub mod tls;

pub use connection::Connection;
pub use dial::{DialError, dial};
pub use listener::{Incoming, ListenError, Listener, ListenerKeys};
pub use tls::TlsError;
