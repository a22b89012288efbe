//! What both programs need from the machine: a log whose output may fail, signals, settings files, private
//! files, default directories, a store for content, a terminal that may be closed, and connections to hosts with
//! several addresses or behind a proxy.
//!
//! Must never end or block a program because its stderr is broken or not read.

pub mod descriptors;
pub mod directories;
pub mod happy_eyeballs;
pub mod log_rate_limit;
pub mod logging;
pub mod lru;
pub mod memory;
pub mod password_file;
pub mod private_file;
pub mod private_socket;
pub mod proxy;
pub mod random;
pub mod ready_file;
pub mod signals;
pub mod store;
pub mod terminal;
pub mod toml_file;
pub mod variables;
