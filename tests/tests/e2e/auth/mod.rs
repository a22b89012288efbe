//! Tokens, challenges, accounts and links: what opens what, and for whom.

mod challenges;
mod hostile_registry;
mod invitations;
mod operator_account;
mod secrets;
mod token_origins;
mod token_service_failures;
mod tokens;
mod unauthenticated;
