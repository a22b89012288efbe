//! What strangers get at the TCP port: the answers of a small web server that has nothing.
//!
//! Must never answer anything that a web server would not: a stranger is not to learn that there is a tunnel.

pub(super) mod not_found;
mod refusal;
