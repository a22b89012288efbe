//! The link emulator with real sockets on it. Needs root: it makes network namespaces and TUN devices.
//! Must never test statistics here: those are exact in the core's own tests, where time is an argument.

mod command_line;
mod link;
mod testbed;
mod tunnel;
