//! The client of Docxy: container images for a machine that cannot reach the registries.
//!
//! The command line comes in at [`command`], which loads [`settings`] and [`links`]. From there
//! either [`frontend`] serves engines or [`pull`] fetches an image; both ask through [`gateway`],
//! which answers from [`metadata`] what it can, and only [`tunnel`] talks to the server.

pub mod command;
mod counters;
mod credentials;
mod exchange;
pub mod frontend;
pub mod gateway;
pub mod links;
pub mod metadata;
mod private_file;
pub mod pull;
mod reload;
mod report;
pub mod settings;
pub mod shutdown;
pub mod toml_text;
pub mod transfer;
pub mod tunnel;
pub mod waiting;
