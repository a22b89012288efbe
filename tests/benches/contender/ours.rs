//! Docxy: the real server and the real client, and an engine's way of reading.
//! Must never be set up in any way that a user wouldn't.

use anyhow::Result;
use docxy_tests::docxy::{Client, Server};

use super::{Contender, Role, Running, straight};
use crate::place::Place;

/// The product.
pub(crate) enum Ours {
    /// As it comes.
    Auto,
    /// Told 95 % of what the link carries, as by a user who knows it.
    Fixed,
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        match self {
            Self::Auto => "ours",
            Self::Fixed => "ours-fixed",
        }
    }

    fn start(&self, place: &Place<'_>) -> Result<Running> {
        let mut server = Server::start(place.far, place.far_ip, &place.source.server_config())?;
        let rate = place.rate.filter(|_| matches!(self, Self::Fixed));
        let stated =
            rate.map(|rate| format!("--congestion=down={} kbit/s", rate.bits_per_second() / 1000 * 95 / 100));
        let arguments: Vec<&str> = stated.iter().map(String::as_str).collect();
        let mut client = Client::start_with(place.near, &server.invite("bench")?, &arguments)?;
        let (server_pid, client_pid) = (server.process().pid(), client.process().pid());
        Ok(Running::new(Role::Reader, straight::reader(place, &client.url())?)
            .counting(Role::Source, place.source.pid())
            .counting(Role::Server, server_pid)
            .counting(Role::Client, client_pid)
            .keeping(client)
            .keeping(server))
    }
}
