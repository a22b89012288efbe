//! What an operator does: start, reload, stop, and watch the resources.

mod admin_page;
mod burst;
mod client_reload;
mod congestion;
mod fleet;
mod logs;
mod memory;
mod metrics;
mod server_reload;
mod setup;
mod shutdown;
mod status;
mod unwritable_log;
mod upgrade;
mod wire_versions;
