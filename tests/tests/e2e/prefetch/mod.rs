//! Which responses need no round trip, and what the server sends before it is requested.

mod client;
mod hostile;
mod round_trips;
mod server;
