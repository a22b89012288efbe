//! Docxy: the real server and the real client, and an engine's way of reading.
//! Must never be set up in any way that a user wouldn't.

use anyhow::Result;
use docxy_tests::docxy::{Client, Server};

use super::{Contender, Role, Running, straight};
use crate::place::Place;

/// The product, as it comes.
pub(crate) struct Ours;

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn start(&self, place: &Place<'_>) -> Result<Running> {
        let mut server = Server::start(place.far, place.far_ip, &place.source.server_config())?;
        let mut client = Client::start(place.near, &server.invite("bench")?)?;
        let (server_pid, client_pid) = (server.process().pid(), client.process().pid());
        Ok(Running::new(Role::Reader, straight::reader(place, &client.url())?)
            .counting(Role::Source, place.source.pid())
            .counting(Role::Server, server_pid)
            .counting(Role::Client, client_pid)
            .keeping(client)
            .keeping(server))
    }
}
