//! What changes while the programs run, and what stays.

mod client;
mod server;
