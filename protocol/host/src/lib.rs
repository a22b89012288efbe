//! What both programs need of the machine that they run on: a log that may fail, the signals that
//! they answer, and a terminal that may be gone.
//!
//! Must never end or block a program because of what somebody else did to its stderr.

pub mod log_rate_limit;
pub mod logging;
pub mod signals;
pub mod terminal;
