//! The link emulator with real sockets. Needs root, as it creates network namespaces and TUN devices.
//! Must never test statistics here: the unit tests of the core do so exactly, as they control the time.

mod addresses;
mod bodies;
mod choice;
mod command_line;
mod legs;
mod link;
mod middlebox;
mod neighbours;
mod support;
mod tunnel;
