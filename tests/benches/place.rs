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

/// The two ends of a transfer, and the source behind the far one.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Where the reader is; `None` is this machine's own network.
    pub(crate) near: Option<&'a Namespace>,
    /// Where the sender is.
    pub(crate) far: Option<&'a Namespace>,
    /// The far end's address, as the near one reaches it.
    pub(crate) far_ip: IpAddr,
    /// What the link between them carries towards the near one, where there is one.
    pub(crate) rate: Option<Rate>,
    /// Where the bytes come from.
    pub(crate) source: &'a StandIn,
}

impl<'a> Place<'a> {
    /// Everything is here.
    pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Everything on loopback.
    pub(crate) fn loopback(source: &'a StandIn) -> Self {
        Self { near: None, far: None, far_ip: Self::LOOPBACK, rate: None, source }
    }

    /// This program in a peer's role at the near end.
    pub(crate) fn near_peer(&self, role: &str) -> PeerCall {
        PeerCall::new(self.near, role)
    }

    /// This program in a peer's role at the far end.
    pub(crate) fn far_peer(&self, role: &str) -> PeerCall {
        PeerCall::new(self.far, role)
    }
}

/// How a peer is called; it may be called more than once.
pub(crate) struct PeerCall {
    namespace: Option<Namespace>,
    arguments: Vec<String>,
}

impl PeerCall {
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
