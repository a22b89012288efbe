//! HTTP as registries speak it. Must never decide who may see what.

pub(in crate::hub) mod listener;
pub(in crate::hub) mod negotiation;
pub(in crate::hub) mod range;
pub(in crate::hub) mod response;
pub(in crate::hub) mod route;
pub(in crate::hub) mod signed_url;
