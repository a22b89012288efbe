//! Through a proxy, as in an office: the server towards registries, and the client towards its server.

mod registries;
mod secrets;
mod tunnel;
mod unresolvable;
