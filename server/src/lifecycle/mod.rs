//! How a running server gets new settings.
//!
//! Must never end the server because a file is wrong: it goes on with the settings that it has.

pub(crate) mod active_settings;
pub mod reload;
