//! What both programs need from the machine: a log whose output may fail, the process with its signals and terminal,
//! files and folders, stores for content, metrics, a local page, and connections to hosts with several addresses or
//! behind a proxy. What differs between operating systems is in [`platform`].
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

// Both programs name this module, not its folder.
pub use logging::trouble;
