//! The process: its command line, environment, terminal, memory, descriptors, signals and service manager.

pub mod command_line;
pub mod descriptors;
pub mod memory;
pub mod service;
pub mod signals;
pub mod terminal;
pub mod variables;
