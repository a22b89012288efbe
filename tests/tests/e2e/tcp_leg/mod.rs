//! The tunnel over TCP: pulls, what strangers see of the server, its certificates, the connections of a
//! session, and the choice between the legs.

mod certificates;
mod connections;
mod leg_choice;
mod probes;
mod pulls;
mod slow_strangers;
mod strangers;
mod timing;
