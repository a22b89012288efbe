//! Where the parties of a measurement are: on loopback, or in namespaces with a bad link between them.
//! Must never know who they are.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

use anyhow::Result;
use docxy_tests::{
    net::{Namespace, command_in},
    stand_in::StandIn,
    wan::Rate,
};

/// The two ends of a transfer, and the source behind the server one.
#[derive(Clone, Copy)]
pub(crate) struct Topology<'a> {
    /// Where the reader is; `None` is this machine's own network.
    pub(crate) client: Option<&'a Namespace>,
    /// Where the sender is.
    pub(crate) server: Option<&'a Namespace>,
    /// The server end's address, as the client one reaches it.
    pub(crate) server_ip: IpAddr,
    /// What the link between them carries towards the client one, where there is one.
    pub(crate) rate: Option<Rate>,
    /// Where the bytes come from.
    pub(crate) source: &'a StandIn,
}

impl<'a> Topology<'a> {
    /// Everything is here.
    pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Everything on loopback.
    pub(crate) fn loopback(source: &'a StandIn) -> Self {
        Self { client: None, server: None, server_ip: Self::LOOPBACK, rate: None, source }
    }

    /// This program in a peer's role at the client end.
    pub(crate) fn client_peer(&self, role: &str) -> PeerCommand {
        PeerCommand::new(self.client, role)
    }

    /// This program in a peer's role at the server end.
    pub(crate) fn server_peer(&self, role: &str) -> PeerCommand {
        PeerCommand::new(self.server, role)
    }
}

/// How a peer is called; it may be called more than once.
pub(crate) struct PeerCommand {
    namespace: Option<Namespace>,
    arguments: Vec<String>,
}

impl PeerCommand {
    fn new(namespace: Option<&Namespace>, role: &str) -> Self {
        Self { namespace: namespace.cloned(), arguments: vec!["peer".to_owned(), role.to_owned()] }
    }

    /// With a further argument.
    pub(crate) fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The command.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = command_in(self.namespace.as_ref(), env::current_exe()?);
        command.args(&self.arguments);
        Ok(command)
    }
}
