//! The real `docxy-server` and `docxy-client` as child processes, in a namespace or on this machine's loopback.
//! Must never use more than flags, files, signals and ports: what a user cannot do, a test cannot do either.

mod client;
mod config;
mod footprint;
mod launch;
mod link_bytes;
mod port;
mod program;
mod report;
mod server;
mod variant;

pub use client::Client;
pub use config::{ProxyConfig, ServerConfig, Upstream};
pub use footprint::Footprint;
pub use launch::Launch;
pub use link_bytes::content_bytes;
pub use report::{count, exchanges_ended, exchanges_with};
pub use server::{Server, without_sum};
