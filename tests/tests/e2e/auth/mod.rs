//! Tokens, challenges, accounts and links: who may pull what.

mod anonymous_content;
mod challenged_tokens;
mod challenges;
mod denied_images;
mod hostile_registry;
mod invitations;
mod operator_account;
mod secrets;
mod stale_tokens;
mod token_endpoint;
mod token_origins;
mod token_service_failures;
mod tokens;
mod unauthenticated;
