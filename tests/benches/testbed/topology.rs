//! Where the processes of a measurement run: on loopback, or in namespaces with an emulated link between them.
//! Must never know what is measured.

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

/// The two ends of a transfer, and the data source.
#[derive(Clone, Copy)]
pub(crate) struct Topology<'a> {
    /// The namespace of the reader; `None` is this machine's own network.
    pub(crate) client: Option<&'a Namespace>,
    /// The namespace of the sender.
    pub(crate) server: Option<&'a Namespace>,
    /// The server end's address, as the client end reaches it.
    pub(crate) server_ip: IpAddr,
    /// The rate of the link towards the client end, if there is a link.
    pub(crate) rate: Option<Rate>,
    /// The data source.
    pub(crate) source: &'a StandIn,
}

impl<'a> Topology<'a> {
    /// The address if all processes are on loopback.
    pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// All processes on loopback.
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

/// How to start a peer; it may be started more than once.
pub(crate) struct PeerCommand {
    namespace: Option<Namespace>,
    arguments: Vec<String>,
}

impl PeerCommand {
    fn new(namespace: Option<&Namespace>, role: &str) -> Self {
        Self { namespace: namespace.cloned(), arguments: vec!["peer".to_owned(), role.to_owned()] }
    }

    /// Adds an argument.
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
