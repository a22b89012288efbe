//! The server of Docxy: fetches from registries what its clients ask for.
//!
//! The command line comes in at [`command`], which loads [`settings`] and [`state`]; from there on
//! [`listener`] serves. Only `upstream` talks to registries.

pub mod address;
pub mod command;
mod counters;
mod exchange;
pub mod listener;
mod live;
mod places;
mod prefetch;
mod public_ip;
pub mod reload;
pub mod settings;
pub mod shutdown;
pub mod state;
mod store;
pub mod toml_text;
mod upstream;

#[cfg(fuzzing)]
pub use upstream::fuzz;
