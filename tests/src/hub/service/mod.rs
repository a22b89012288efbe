//! The three services: registry, token service, CDN. Must never keep content of their own.

pub(in crate::hub) mod auth;
pub(in crate::hub) mod cdn;
pub(in crate::hub) mod distribution;
pub(in crate::hub) mod push;
pub(in crate::hub) mod rate_limit;
pub(in crate::hub) mod registry;
pub(in crate::hub) mod token;
