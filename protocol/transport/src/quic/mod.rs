//! The QUIC leg: one connection for each session.

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
