//! The TCP leg: TLS 1.3 and HTTP/2 over TCP, on two connections for each session, and a third in place of a slow one.
//!
//! Each stream is a request and its response. To strangers the server looks like a web server.

mod certificates;
mod connection;
mod dial;
mod listener;
pub(crate) mod padding;
mod session;
mod settings;
mod signal;
mod socket;
mod strangers;
mod stream;
mod tls;

pub use certificates::{CertificateError, Certificates, NamedCertificate};
pub use dial::DialError;
pub(crate) use dial::dial;
pub use listener::ListenError;
pub(crate) use listener::{Incoming, Listener};
pub use session::Connections;
pub use socket::{KernelCongestion, kernel_congestion};
use strangers::not_found;
pub(crate) use stream::{Receiver, Sender};
