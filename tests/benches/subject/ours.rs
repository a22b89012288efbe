//! Docxy: the real server and the real client, and an engine's way of reading.
//! Must never be set up in any way that a user wouldn't.

use anyhow::Result;
use docxy_tests::docxy::{Client, Server};

use super::{Role, RunningSubject, Subject, direct};
use crate::topology::Topology;

/// The product.
pub(crate) enum Ours {
    /// As it comes.
    Auto,
    /// Told 95 % of what the link carries, as by a user who knows it.
    Fixed,
}

impl Subject for Ours {
    fn name(&self) -> &'static str {
        match self {
            Self::Auto => "ours",
            Self::Fixed => "ours-fixed",
        }
    }

    fn start(&self, topology: &Topology<'_>) -> Result<RunningSubject> {
        let mut server =
            Server::start(topology.server, topology.server_ip, &topology.source.server_config())?;
        let rate = topology.rate.filter(|_| matches!(self, Self::Fixed));
        let stated =
            rate.map(|rate| format!("--congestion=down={} kbit/s", rate.bits_per_second() / 1000 * 95 / 100));
        let arguments: Vec<&str> = stated.iter().map(String::as_str).collect();
        let mut client = Client::start_with(topology.client, &server.invite("bench")?, &arguments)?;
        let (server_pid, client_pid) = (server.process().pid(), client.process().pid());
        Ok(RunningSubject::new(Role::Reader, direct::registry_reader(topology, &client.url())?)
            .with_process(Role::Source, topology.source.pid())
            .with_process(Role::Server, server_pid)
            .with_process(Role::Client, client_pid)
            .with_owner(client)
            .with_owner(server))
    }
}
