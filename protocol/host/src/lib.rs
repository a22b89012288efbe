//! What both programs need from the machine: a log whose output may fail, signals, and a terminal that may
//! be closed.
//!
//! Must never end or block a program because its stderr is broken or not read.

pub mod log_rate_limit;
pub mod logging;
pub mod random;
pub mod signals;
pub mod terminal;
