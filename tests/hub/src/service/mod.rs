//! The three services: registry, token service, CDN. Must never keep content of their own.

pub(crate) mod auth;
pub(crate) mod cdn;
pub(crate) mod distribution;
pub(crate) mod push;
pub(crate) mod rate_limit;
pub(crate) mod registry;
pub(crate) mod token;
