//! What an operator does: start, reload, stop, and watch the resources.

mod burst;
mod client_reload;
mod congestion;
mod fleet;
mod memory;
mod server_reload;
mod setup;
mod shutdown;
mod status;
mod unwritable_log;
mod upgrade;
mod wire_versions;
