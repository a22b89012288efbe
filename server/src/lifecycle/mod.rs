//! How a running server gets new settings.

pub(crate) mod active_settings;
pub mod reload;
