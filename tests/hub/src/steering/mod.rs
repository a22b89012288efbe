//! How a test steers and observes the stand-in. Must never change what a service does unasked.

pub(crate) mod authority;
pub(crate) mod challenges;
pub(crate) mod fault;
pub(crate) mod request_log;
pub(crate) mod site;
pub(crate) mod transfer;
