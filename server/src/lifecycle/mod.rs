//! How a running server gets new settings, and how it ends.

pub(crate) mod active_settings;
pub mod reload;
pub mod shutdown;
