//! One HTTP request to one host: dialing, redirects, bodies, and when to try again.
//!
//! Must never know what is requested, or with whose credential: that is decided above.

pub(super) mod address_guard;
pub(super) mod body;
pub(super) mod client;
pub(super) mod credentials;
pub(super) mod redirect;
pub(super) mod request_fault;
pub(super) mod retry;
pub(super) mod roots;
pub(super) mod small_response;
pub(super) mod target;
