//! Losses and failures on the path, at the server and upstream: an engine does not notice.

mod graceful_restart;
mod mobility;
mod outage;
mod reconnect;
mod server_restart;
mod several_servers;
mod silence;
mod slow_registries;
mod truncated_bodies;
mod upstream_failures;
mod upstream_keepalive;
