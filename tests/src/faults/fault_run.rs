//! A link, a server, a client and an engine of their own for one pull.
//! Must never decide whether a pull succeeded.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use super::{
    EngineKind, Fault,
    engine::Engine,
    plan::Plan,
    testbed::{Content, Repository, Testbed},
};
use crate::{
    docxy::{Client, Server, ServerConfig, content_bytes},
    process::{PROCESS_TIMEOUT, Process, scratch},
    wan::{Conditions, Direction, End, Link, Rate, Wan},
};

/// The addresses of the link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// The link without the fault: fast enough for a hundred pulls, and long enough to have packets in flight.
const LINK: Conditions = Conditions::clean(Rate::mbit(300), Duration::from_millis(40));

/// Timeout of a pull, which usually takes far less.
pub(super) const PULL_TIMEOUT: Duration = Duration::from_secs(180);

/// A pull with its processes. Drop order: each requester before its responder, the link last.
pub(super) struct FaultRun<'a> {
    pub(super) testbed: &'a Testbed,
    pub(super) fault: Fault,
    pub(super) plan: Plan,
    pub(super) content: &'a Content,
    pub(super) engine: Engine,
    pub(super) client: Client,
    pub(super) server: Server,
    pub(super) wan: Wan,
    folder: TempDir,
}

impl<'a> FaultRun<'a> {
    pub(super) fn new(testbed: &'a Testbed, fault: Fault, engine: EngineKind, seed: u64) -> Result<Self> {
        let content = testbed.content(fault);
        let lengths: Vec<_> = content.layers.iter().map(|(_, length)| *length).collect();
        let end = |namespace: &str, address| End::new(namespace, address);
        let (client_end, server_end) =
            (end(testbed.lab.laptop.name(), CLIENT_ADDRESS), end(testbed.lab.abroad.name(), SERVER_ADDRESS));
        let wan = Wan::join(&client_end, &server_end, Link::symmetric(LINK), seed)?;
        let config = ServerConfig { handover: fault == Fault::Restart, ..testbed.hub.server_config() };
        let server = Server::start(Some(&testbed.lab.abroad), SERVER_ADDRESS.into(), &config)?;
        let mut client = Client::start(Some(&testbed.lab.laptop), &server.invite("laptop")?)?;
        let engine = Engine::start(engine, &testbed.lab.laptop, &client)?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        if content.repository == Repository::Private {
            engine.log_in(&client)?;
        }
        let plan = Plan::generate(fault, seed, &lengths);
        Ok(Self { testbed, fault, plan, content, engine, client, server, wan, folder: scratch()? })
    }

    /// Whether the engine has the image.
    pub(super) fn has_pulled(&self) -> bool {
        self.engine.pulled(self.content.repository).is_ok()
    }

    /// Starts a pull.
    pub(super) fn pull(&self) -> Result<Process> {
        Process::spawn("pull", self.engine.pull(self.content.repository), self.folder.path())
    }

    /// Waits until the planned share of the image has crossed the link.
    pub(super) fn wait_for_mid_pull(&self, pull: &mut Process) -> Result<()> {
        self.wait_for_bytes(pull, (self.content.bytes as f64 * self.plan.share) as u64)
    }

    /// Waits until this many more bytes have crossed the link.
    pub(super) fn wait_for_bytes(&self, pull: &mut Process, bytes: u64) -> Result<()> {
        let before = self.wan.counters(Direction::RightToLeft);
        let crossed = || content_bytes(before, self.wan.counters(Direction::RightToLeft));
        pull.wait_for("receive bytes", PULL_TIMEOUT, |_| Ok((crossed() >= bytes).then_some(())))
    }

    pub(super) fn logs(&mut self) -> Vec<(&'static str, String)> {
        let pull = std::fs::read(self.folder.path().join("pull.log")).unwrap_or_default();
        vec![
            ("pull", String::from_utf8_lossy(&pull).into_owned()),
            ("engine", self.engine.log()),
            ("client", self.client.process().output()),
            ("server", self.server.process().output()),
        ]
    }
}
