//! Real engines pull through real `docxy-client` and `docxy-server` processes, each in a network namespace of its own.
//! Needs root, iproute2 and Debian's engines. Must never depend on this machine's own network or engines.

mod archive;
mod crossings;
mod docker;
mod harness;
mod hostile_registry;
mod isolation;
mod layout;
mod others;
mod real_registry;
mod world;
