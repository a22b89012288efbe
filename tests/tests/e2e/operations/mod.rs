//! What an operator does: start, reload, stop, and watch the resources.

mod admin_page;
mod congestion;
mod load;
mod logs;
mod metrics;
mod reload;
mod setup;
mod shutdown;
mod status;
mod unwritable_log;
mod upgrade;
mod watch;
mod wire_versions;
