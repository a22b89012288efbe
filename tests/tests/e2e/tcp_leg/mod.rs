//! The tunnel over TCP: pulls, what strangers see of the server, and the connections of a session.

mod connections;
mod pulls;
mod strangers;
