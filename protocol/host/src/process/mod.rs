//! The process: its command line, environment, terminal, signals and service manager.

pub mod command_line;
pub mod service;
pub mod signals;
pub mod terminal;
pub mod variables;
