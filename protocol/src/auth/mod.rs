//! Whom a request speaks for: credentials, tokens, and the challenges that ask for them.
//!
//! Must never print a secret.

pub mod authorization;
pub mod challenge;
pub mod scope;
pub mod secret;
pub mod token;
pub mod token_response;
