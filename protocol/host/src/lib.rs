//! What both programs need from the machine: a log whose output may fail, signals, settings files, private
//! files, default directories, a store for content, a terminal that may be closed, a service manager, what is made of
//! the command line, metrics, a local page and who may send requests to it, and connections to hosts with several addresses or behind a proxy.
//!
//! Must never end or block a program because its stderr is broken or not read.

pub mod blob_store;
pub mod byte_size;
pub mod command_line;
pub mod descriptors;
pub mod directories;
pub mod file_fingerprint;
pub mod happy_eyeballs;
pub mod listen_address;
pub mod log_rate_limit;
pub mod logging;
pub mod lru;
pub mod memory;
pub mod metrics;
pub mod password_file;
pub mod port_holder;
pub mod private_file;
pub mod private_socket;
pub mod proxy;
pub mod random;
pub mod ready_file;
pub mod service;
pub mod signals;
pub mod store;
pub mod terminal;
pub mod toml_file;
pub mod variables;
pub mod web_origin;
pub mod web_page;
