//! What both programs need from the machine: a log whose output may fail, signals, settings files, private
//! files, default directories, a store for content, a terminal that may be closed, a service manager, what is made of
//! the command line, metrics, a local page and who may send requests to it, and connections to hosts with several addresses or behind a proxy.
//!
//! Must never end or block a program because its stderr is broken or not read.

pub mod blob_store;
pub mod byte_size;
pub mod files;
pub mod logging;
pub mod lru;
pub mod metrics;
pub mod net;
pub mod platform;
pub mod process;
pub mod random;
pub mod store;
pub mod web_page;

pub use logging::trouble;
