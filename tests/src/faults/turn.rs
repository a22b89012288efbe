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
    plan::Plan,
    puller::Puller,
    stage::{Content, Repository, Stage},
    strike, toll,
};
use crate::{
    docxy::{Client, Server},
    process::{PATIENCE, Process, scratch},
    wan::{Conditions, End, Link, Rate, Wan, Way},
};

/// The link's ends.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// Without the fault, a link that is quick enough for a hundred pulls, and long enough for something to be on its way.
const LINK: Conditions = Conditions::clean(Rate::mbit(300), Duration::from_millis(40));

/// How long a pull may take: far longer than it does.
pub(super) const PULL: Duration = Duration::from_secs(180);

/// A pull with all that it needs. Dropped in this order: who asks before who answers, the link last.
pub(super) struct Turn<'a> {
    pub(super) stage: &'a Stage,
    pub(super) fault: Fault,
    pub(super) plan: Plan,
    pub(super) content: &'a Content,
    puller: Puller,
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
    pub twice: i64,
    /// Why it isn't as it must be.
    pub failure: Option<String>,
    /// What everybody said, by name.
    pub logs: Vec<(&'static str, String)>,
}

impl Outcome {
    pub(super) fn failed(error: &Error, logs: Vec<(&'static str, String)>) -> Self {
        Self { seconds: f64::NAN, twice: 0, failure: Some(format!("{error:#}")), logs }
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(stage: &'a Stage, fault: Fault, engine: EngineKind, seed: u64) -> Result<Self> {
        let content = stage.content(fault);
        let lengths: Vec<_> = content.layers.iter().map(|(_, length)| *length).collect();
        let end = |namespace: &str, address| End::new(namespace, address);
        let (near, far) = (end(stage.lab.laptop.name(), NEAR), end(stage.lab.abroad.name(), FAR));
        let wan = Wan::join(&near, &far, Link::symmetric(LINK), seed)?;
        let server = Server::start(Some(&stage.lab.abroad), FAR.into(), &stage.hub.server_config())?;
        let mut client = Client::start(Some(&stage.lab.laptop), &server.invite("laptop")?)?;
        let puller = Puller::start(engine, &stage.lab.laptop, &client)?;
        client.process().wait_for_line("tunnel up", PATIENCE)?;
        if content.repository == Repository::Private {
            puller.log_in(&client)?;
        }
        let plan = Plan::throw(fault, seed, &lengths);
        Ok(Self { stage, fault, plan, content, puller, client, server, wan, folder: scratch()? })
    }

    pub(super) fn play(mut self) -> Outcome {
        let before = self.wan.counters(Way::RightToLeft);
        let pulled = self.run();
        let crossed = toll::content(before, self.wan.counters(Way::RightToLeft));
        // For the next one; this one's result is known.
        let calmed = self.stage.hub.calm();
        match pulled.and_then(|taken| calmed.map(|()| taken)) {
            Ok(taken) => Outcome {
                seconds: taken.as_secs_f64(),
                twice: crossed as i64 - self.content.bytes as i64,
                failure: None,
                logs: self.logs(),
            },
            Err(error) => Outcome::failed(&error, self.logs()),
        }
    }

    fn run(&mut self) -> Result<Duration> {
        strike::arm(self)?;
        let started = Instant::now();
        let mut pull = self.pull()?;
        if strike::is_sudden(self.fault) {
            self.wait_for_the_middle(&mut pull)?;
            pull = strike::strike(self, pull)?;
        }
        let status = pull.wait_until_ended(PULL)?;
        let taken = started.elapsed();
        let said = pull.log();
        ensure!(
            status.success(),
            "the pull ended with {status}: {}",
            said.lines().last().unwrap_or_default()
        );
        let pulled = self.puller.pulled(self.content.repository)?;
        ensure!(pulled == self.content.wanted, "pulled {pulled:?} instead of {:?}", self.content.wanted);
        strike::assert_struck(self)?;
        // An engine that was told to stop may say that it did.
        if self.fault != Fault::Cancel
            && let Some(line) = self.puller.complaint(&said)
        {
            bail!("the engine noticed: {line}");
        }
        Ok(taken)
    }

    /// Whether the engine has the image.
    pub(super) fn has_pulled(&self) -> bool {
        self.puller.pulled(self.content.repository).is_ok()
    }

    /// Begins to pull.
    pub(super) fn pull(&self) -> Result<Process> {
        Process::spawn("pull", self.puller.pull(self.content.repository), self.folder.path())
    }

    /// Waits until as much has crossed as the plan wants.
    fn wait_for_the_middle(&self, pull: &mut Process) -> Result<()> {
        let before = self.wan.counters(Way::RightToLeft);
        let enough = (self.content.bytes as f64 * self.plan.share) as u64;
        let crossed = || toll::content(before, self.wan.counters(Way::RightToLeft));
        pull.wait_for("get to its middle", PULL, |_| Ok((crossed() >= enough).then_some(())))
    }

    fn logs(&mut self) -> Vec<(&'static str, String)> {
        let pull = std::fs::read(self.folder.path().join("pull.log")).unwrap_or_default();
        vec![
            ("pull", String::from_utf8_lossy(&pull).into_owned()),
            ("engine", self.puller.log()),
            ("client", self.client.process().log()),
            ("server", self.server.process().log()),
        ]
    }
}
