//! Accounts at registries: the user's [logins], and what engines send.
//!
//! Must never give an account to another registry than its own.

pub(crate) mod credentials;
pub(crate) mod denied;
pub mod logins;
