//! One pull from beginning to end, with a link, a server, a client and an engine of its own.
//! Must never accept a pull that is incomplete, or that the engine had to retry.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Error, Result, bail, ensure};
use tempfile::TempDir;

use super::{
    EngineKind, Fault,
    engine::Engine,
    inject, link_bytes,
    plan::Plan,
    testbed::{Content, Repository, Testbed},
};
use crate::{
    docxy::{Client, Server},
    process::{PROCESS_TIMEOUT, Process, scratch},
    wan::{Conditions, Direction, End, Link, Rate, Wan},
};

/// The addresses of the link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// The link without the fault: fast target for a hundred pulls, and long target to have packets in flight.
const LINK: Conditions = Conditions::clean(Rate::mbit(300), Duration::from_millis(40));

/// Timeout of a pull, which usually takes far less.
pub(super) const PULL_TIMEOUT: Duration = Duration::from_secs(180);

/// A pull with its processes. Drop order: each requester before its responder, the link last.
pub(super) struct FaultRun<'a> {
    pub(super) testbed: &'a Testbed,
    pub(super) fault: Fault,
    pub(super) plan: Plan,
    pub(super) content: &'a Content,
    engine: Engine,
    pub(super) client: Client,
    pub(super) server: Server,
    pub(super) wan: Wan,
    folder: TempDir,
}

/// The outcome of a pull.
#[derive(Debug)]
pub struct Outcome {
    /// Duration in seconds, the fault included.
    pub seconds: f64,
    /// Content bytes that crossed the link in addition to the image's own, with an error of a few hundred thousand.
    pub extra_bytes: i64,
    /// Why the pull failed.
    pub failure: Option<String>,
    /// The logs of all processes, by name.
    pub logs: Vec<(&'static str, String)>,
}

impl Outcome {
    pub(super) fn failed(error: &Error, logs: Vec<(&'static str, String)>) -> Self {
        Self { seconds: f64::NAN, extra_bytes: 0, failure: Some(format!("{error:#}")), logs }
    }
}

impl<'a> FaultRun<'a> {
    pub(super) fn new(testbed: &'a Testbed, fault: Fault, engine: EngineKind, seed: u64) -> Result<Self> {
        let content = testbed.content(fault);
        let lengths: Vec<_> = content.layers.iter().map(|(_, length)| *length).collect();
        let end = |namespace: &str, address| End::new(namespace, address);
        let (client_end, server_end) =
            (end(testbed.lab.laptop.name(), CLIENT_ADDRESS), end(testbed.lab.abroad.name(), SERVER_ADDRESS));
        let wan = Wan::join(&client_end, &server_end, Link::symmetric(LINK), seed)?;
        let server =
            Server::start(Some(&testbed.lab.abroad), SERVER_ADDRESS.into(), &testbed.hub.server_config())?;
        let mut client = Client::start(Some(&testbed.lab.laptop), &server.invite("laptop")?)?;
        let engine = Engine::start(engine, &testbed.lab.laptop, &client)?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        if content.repository == Repository::Private {
            engine.log_in(&client)?;
        }
        let plan = Plan::generate(fault, seed, &lengths);
        Ok(Self { testbed, fault, plan, content, engine, client, server, wan, folder: scratch()? })
    }

    pub(super) fn run(mut self) -> Outcome {
        let before = self.wan.counters(Direction::RightToLeft);
        let pulled = self.pull_through_fault();
        let crossed = link_bytes::payload_bytes(before, self.wan.counters(Direction::RightToLeft));
        // Prepares the stand-in for the next pull; this pull's result is known.
        let reset = self.testbed.hub.reset_faults();
        match pulled.and_then(|taken| reset.map(|()| taken)) {
            Ok(taken) => Outcome {
                seconds: taken.as_secs_f64(),
                extra_bytes: crossed as i64 - self.content.bytes as i64,
                failure: None,
                logs: self.logs(),
            },
            Err(error) => Outcome::failed(&error, self.logs()),
        }
    }

    fn pull_through_fault(&mut self) -> Result<Duration> {
        inject::arm(self)?;
        let started = Instant::now();
        let mut pull = self.pull()?;
        if inject::is_mid_pull(self.fault) {
            self.wait_for_mid_pull(&mut pull)?;
            pull = inject::inject(self, pull)?;
        }
        let status = pull.wait_until_ended(PULL_TIMEOUT)?;
        let taken = started.elapsed();
        let output = pull.output();
        ensure!(
            status.success(),
            "the pull ended with {status}: {}",
            output.lines().last().unwrap_or_default()
        );
        let pulled = self.engine.pulled(self.content.repository)?;
        ensure!(pulled == self.content.expected, "pulled {pulled:?} instead of {:?}", self.content.expected);
        inject::ensure_injected(self)?;
        // An interrupted engine may report the interruption.
        if self.fault != Fault::Cancel
            && let Some(line) = self.engine.retry_message(&output)
        {
            bail!("the engine had to retry: {line}");
        }
        Ok(taken)
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
    fn wait_for_mid_pull(&self, pull: &mut Process) -> Result<()> {
        let before = self.wan.counters(Direction::RightToLeft);
        let target = (self.content.bytes as f64 * self.plan.share) as u64;
        let crossed = || link_bytes::payload_bytes(before, self.wan.counters(Direction::RightToLeft));
        pull.wait_for("reach its middle", PULL_TIMEOUT, |_| Ok((crossed() >= target).then_some(())))
    }

    fn logs(&mut self) -> Vec<(&'static str, String)> {
        let pull = std::fs::read(self.folder.path().join("pull.log")).unwrap_or_default();
        vec![
            ("pull", String::from_utf8_lossy(&pull).into_owned()),
            ("engine", self.engine.log()),
            ("client", self.client.process().output()),
            ("server", self.server.process().output()),
        ]
    }
}
