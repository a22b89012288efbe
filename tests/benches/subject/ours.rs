//! Docxy: the real server and the real client, with a reader that acts like an engine.
//! Must never be configured as no user would.

use std::net::IpAddr;

use anyhow::Result;
use docxy_tests::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
};

use super::{Role, RunningSubject, Subject, direct};
use crate::{layers::KEEPING, topology::Topology};

/// Docxy.
pub(crate) enum Ours {
    /// With default settings.
    Auto,
    /// With a stated rate of 95 % of the link's, as by a user who knows it.
    Fixed,
    /// With the QUIC leg alone.
    Quic,
    /// With the TCP leg alone.
    Tcp,
    /// With layers kept on the disk.
    Keeping,
}

impl Subject for Ours {
    fn name(&self) -> &'static str {
        match self {
            Self::Auto => "ours",
            Self::Fixed => "ours-fixed",
            Self::Quic => "ours-quic",
            Self::Tcp => "ours-tcp",
            Self::Keeping => "ours-keeping",
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
        let arguments = self.client_arguments(topology);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
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

    fn client_arguments(&self, topology: &Topology<'_>) -> Option<String> {
        match self {
            Self::Auto => None,
            Self::Fixed => {
                let kilobits = topology.rate?.bits_per_second() / 1000 * 95 / 100;
                Some(format!("--congestion=down={kilobits} kbit/s"))
            }
            Self::Quic => Some("--leg=quic".to_owned()),
            Self::Tcp => Some("--leg=tcp".to_owned()),
            Self::Keeping => Some(KEEPING.to_owned()),
        }
    }
}
