//! One request and its response, as they cross the tunnel.
//!
//! Must never hold a URL: a request is a typed operation.

pub mod bulk_window;
pub mod chunk;
pub mod error_body;
pub mod fault;
pub mod gaps;
pub mod patience;
pub mod prefetch;
pub mod reply;
pub mod request;
pub mod route;
pub mod segment;
pub mod token_origins;
