//! Where a request comes from, and to which host: any web page can make a browser send requests to localhost.
//!
//! Must never let a request through whose `Host` is not the client's, or that a foreign page caused.

mod allowed_hosts;
mod host_header;
mod same_origin;

pub use allowed_hosts::AllowedHosts;
pub(super) use host_header::LocalHost;
pub(super) use same_origin::refuse_foreign_pages;
