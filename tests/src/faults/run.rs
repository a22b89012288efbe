//! One pull from its beginning to its end, with a link, a server, a client and an engine of its own.
//! Must never let a pull pass that isn't whole, or whose engine noticed.

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
    process::{PATIENCE, Process, scratch},
    wan::{Conditions, Direction, End, Link, Rate, Wan},
};

/// The link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// Without the fault, a link that is quick enough for a hundred pulls, and long enough for something to be on its way.
const LINK: Conditions = Conditions::clean(Rate::mbit(300), Duration::from_millis(40));

/// How long a pull may take: server_end longer than it does.
pub(super) const PULL_TIMEOUT: Duration = Duration::from_secs(180);

/// A pull with all that it needs. Dropped in this order: who asks before who answers, the link last.
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

/// What came of a pull.
#[derive(Debug)]
pub struct Outcome {
    /// How long it took, the fault included.
    pub seconds: f64,
    /// Bytes that crossed the link beyond the image's own, to within a few hundred thousand.
    pub extra_bytes: i64,
    /// Why it isn't as it must be.
    pub failure: Option<String>,
    /// What everybody said, by name.
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
        client.process().wait_for_line("tunnel up", PATIENCE)?;
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
        // For the next one; this one's result is known.
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
        let said = pull.log();
        ensure!(
            status.success(),
            "the pull ended with {status}: {}",
            said.lines().last().unwrap_or_default()
        );
        let pulled = self.engine.pulled(self.content.repository)?;
        ensure!(pulled == self.content.expected, "pulled {pulled:?} instead of {:?}", self.content.expected);
        inject::ensure_injected(self)?;
        // An engine that was told to stop may say that it did.
        if self.fault != Fault::Cancel
            && let Some(line) = self.engine.retry_message(&said)
        {
            bail!("the engine noticed: {line}");
        }
        Ok(taken)
    }

    /// Whether the engine has the image.
    pub(super) fn has_pulled(&self) -> bool {
        self.engine.pulled(self.content.repository).is_ok()
    }

    /// Begins to pull.
    pub(super) fn pull(&self) -> Result<Process> {
        Process::spawn("pull", self.engine.pull(self.content.repository), self.folder.path())
    }

    /// Waits until as much has crossed as the plan wants.
    fn wait_for_mid_pull(&self, pull: &mut Process) -> Result<()> {
        let before = self.wan.counters(Direction::RightToLeft);
        let enough = (self.content.bytes as f64 * self.plan.share) as u64;
        let crossed = || link_bytes::payload_bytes(before, self.wan.counters(Direction::RightToLeft));
        pull.wait_for("get to its middle", PULL_TIMEOUT, |_| Ok((crossed() >= enough).then_some(())))
    }

    fn logs(&mut self) -> Vec<(&'static str, String)> {
        let pull = std::fs::read(self.folder.path().join("pull.log")).unwrap_or_default();
        vec![
            ("pull", String::from_utf8_lossy(&pull).into_owned()),
            ("engine", self.engine.log()),
            ("client", self.client.process().log()),
            ("server", self.server.process().log()),
        ]
    }
}
