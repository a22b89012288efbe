//! HTTP as registries speak it. Must never decide who may see what.

pub(crate) mod negotiation;
pub(crate) mod range;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod signed_url;
