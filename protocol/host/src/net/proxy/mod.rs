//! Outgoing connections through a proxy: HTTP CONNECT (RFC 9110, section 9.3.6) or SOCKS5 (RFC 1928, RFC 1929).
//!
//! What both programs need: the URL of a proxy, the variables of the environment, and a TCP connection through the
//! proxy. Must never show a password, and must never send a connection to this machine itself through a proxy.

mod connect;
mod environment;
mod error;
mod rules;
mod table;
mod url;

pub use connect::Destination;
pub use environment::{Environment, EnvironmentError};
pub use error::{ProxyError, ProxyFailure};
pub use rules::ProxyRules;
pub use table::{ProxyTable, ReadableUrl};
pub use url::{Proxy, ProxyUrlError};
