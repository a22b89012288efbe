//! Tokens, challenges, accounts and links: what opens what, and for whom.

mod challenges;
mod hostile_registry;
mod invitations;
pub(crate) mod operator_account;
mod secrets;
mod token_origins;
mod token_service_failures;
mod tokens;
pub(crate) mod unauthenticated;
