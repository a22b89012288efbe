//! The process: its command line, environment, terminal, signals and service manager.
//!
//! Must never end the process: it says what happened, and the program decides.

pub mod command_line;
pub mod service;
pub mod signals;
pub mod terminal;
pub mod variables;
