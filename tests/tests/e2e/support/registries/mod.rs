//! Registries beside the stand-in, and more than one of it.

pub(crate) mod proxied_hub;
pub(crate) mod scripted_registry;
pub(crate) mod token_registry;
pub(crate) mod two_registries;
