//! A server for one kind of network, and a client's way to join it: what a user there would have.
//! Must never help where a network needs no help.

use std::net::IpAddr;

use anyhow::Result;
use docxy_protocol::link::Link as ServerLink;

use super::{Abroad, TunnelLab};
use crate::{
    docxy::{Launch, Server},
    net::HostsFile,
    wan::Link,
};

/// The name of a server that has an address in both families.
const SERVER_NAME: &str = "server.example";

/// A running server, its link, and how to start a client with it.
pub struct Joined {
    /// The link.
    pub link: String,
    /// For the client.
    pub launch: Launch,
    /// The server.
    pub server: Server,
    _hosts: Option<HostsFile>,
}

impl TunnelLab {
    /// Starts a server at the other end of such a link; `arguments` are further ones of the client. Where a port is
    /// reset, the server listens on that port too, and the link names it first. Where IPv6 leads nowhere, the link has
    /// a name with an IPv6 address too.
    pub fn join(&self, network: &Link, arguments: &[&str]) -> Result<Joined> {
        let (_, end) = self.ends(Abroad::FIRST);
        let launch = Launch::with(arguments);
        if let Some(port) = network.left_to_right.reset_port {
            let listen = format!("{}:{port}", end.address);
            let server = self.server(Abroad::FIRST, &Launch::with(&["--listen", &listen]))?;
            let link = edited(&server.invite("laptop")?, |link| link.ports.insert(0, port))?;
            return Ok(Joined { link, launch, server, _hosts: None });
        }
        let server = self.server(Abroad::FIRST, &Launch::default())?;
        let link = server.invite("laptop")?;
        if !network.left_to_right.drops_ipv6 {
            return Ok(Joined { link, launch, server, _hosts: None });
        }
        let name = SERVER_NAME.parse()?;
        let link = edited(&link, |link| link.host = name)?;
        let addresses = [IpAddr::from(end.ipv6()), end.address.into()];
        let hosts = HostsFile::new(&addresses.map(|address| (SERVER_NAME, address)))?;
        let launch = Launch { arguments: launch.arguments, ..hosts.launch() };
        Ok(Joined { link, launch, server, _hosts: Some(hosts) })
    }
}

fn edited(link: &str, edit: impl FnOnce(&mut ServerLink)) -> Result<String> {
    let mut link: ServerLink = link.parse()?;
    edit(&mut link);
    Ok(link.expose().to_string())
}
