//! Docxy: the real server and the real client, with a reader that acts like an engine.
//! Must never be configured as no user would.

use std::net::IpAddr;

use anyhow::Result;
use docxy_tests::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
};

use super::{Role, RunningSubject, Subject, direct};
use crate::topology::Topology;

/// Docxy.
pub(crate) enum Ours {
    /// With default settings.
    Auto,
    /// With a stated rate of 95 % of the link's, as by a user who knows it.
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
        self.start_with(topology, &[topology.server_ip])
    }
}

impl Ours {
    /// Starts a client of servers at these addresses, of which the first is measured.
    pub(crate) fn start_with(&self, topology: &Topology<'_>, servers: &[IpAddr]) -> Result<RunningSubject> {
        let config = topology.source.server_config();
        let start = |ip: &IpAddr| Server::start(topology.server, *ip, &config);
        let mut servers = servers.iter().map(start).collect::<Result<Vec<_>>>()?;
        let links = servers.iter().map(|server| server.invite("bench")).collect::<Result<Vec<_>>>()?;
        let rate = topology.rate.filter(|_| matches!(self, Self::Fixed));
        let stated =
            rate.map(|rate| format!("--congestion=down={} kbit/s", rate.bits_per_second() / 1000 * 95 / 100));
        let arguments: Vec<&str> = stated.iter().map(String::as_str).collect();
        let mut client = Client::start_with(topology.client, &links.join("\n"), &arguments)?;
        if links.len() > 1 {
            client.wait_for_count("tunnel/connects", links.len() as u64, PROCESS_TIMEOUT)?;
        }
        let (server_pid, client_pid) = (servers[0].process().pid(), client.process().pid());
        Ok(RunningSubject::new(Role::Reader, direct::registry_reader(topology, &client.url())?)
            .with_process(Role::Source, topology.source.pid())
            .with_process(Role::Server, server_pid)
            .with_process(Role::Client, client_pid)
            .with_owner(client)
            .with_owner(servers))
    }
}
