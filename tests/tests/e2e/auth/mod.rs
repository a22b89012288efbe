//! Tokens, challenges, accounts and links: who may pull what.

mod anonymous_content;
mod challenges;
mod hostile_registry;
mod invitations;
mod operator_account;
mod secrets;
mod token_origins;
mod token_service_failures;
mod tokens;
mod unauthenticated;
