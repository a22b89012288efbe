//! The tunnel over TCP: pulls, what strangers see of the server, its certificates, and the connections of a session.

mod certificates;
mod connections;
mod probes;
mod pulls;
mod slow_strangers;
mod strangers;
mod timing;
