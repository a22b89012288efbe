//! What strangers get at the TCP port: the answers of a small web server that has nothing.

pub(super) mod not_found;
mod refusal;
