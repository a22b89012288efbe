//! What differs between operating systems, and what only Linux shows, below `/proc` or by a system call of its own.
//!
//! Must never fail where the system is another one: it then knows nothing, or says that it cannot.

pub mod descriptors;
pub mod memory;
pub mod network;
pub mod port_holder;
pub(crate) mod signals;
pub(crate) mod swap;
