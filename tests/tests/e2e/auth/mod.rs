//! Tokens, challenges, accounts and links: who may pull what.

mod anonymous_content;
mod challenges;
mod denied_images;
mod hostile_registry;
mod invitations;
mod joining;
mod logins;
mod operator_account;
mod secrets;
mod token;
mod unauthenticated;
