//! What registries and engines name and send (OCI distribution and image spec), as typed values.
//!
//! Must never know how it is transported.

pub mod digester;
pub mod image_name;
pub mod listing_query;
pub mod manifest;
pub mod name;
pub mod platform;
mod platform_choice;
