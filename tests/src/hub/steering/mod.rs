//! How a test steers and observes the stand-in. Must never change what a service does unasked.

pub(in crate::hub) mod authority;
pub(in crate::hub) mod control;
pub(in crate::hub) mod fault;
pub(in crate::hub) mod remote;
pub(in crate::hub) mod request_log;
pub(in crate::hub) mod site;
pub(in crate::hub) mod transfer;
