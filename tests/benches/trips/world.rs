//! A laptop with its engines and a client, a link of some length, a server at its other end, and the stand-in next to it.
//! Must never measure before the tunnel is warm.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use docxy_tests::{
    docxy::{Client, Server},
    hub::{Listen, Publication},
    net::Lab,
    process::run,
    stand_in::StandIn,
    wan::{Conditions, End, Link, Rate, Wan},
};

use super::{
    case::Case,
    pull::Pull,
    puller::{EngineKind, Puller},
};
use crate::source;

/// The link's ends.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// What the link carries.
const RATE: Rate = Rate::mbit(100);

/// How long a pull may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that pulls over one link. Dropped in this order: the link's ends last.
pub(super) struct World {
    pub(super) rtt: Duration,
    pullers: BTreeMap<EngineKind, Puller>,
    _client: Client,
    _server: Server,
    _wan: Wan,
    hub: StandIn,
    _lab: Lab,
    images: u64,
}

impl World {
    /// One over a link of this length.
    pub(super) fn new(rtt: Duration, engines: &[EngineKind]) -> Result<Self> {
        let lab = Lab::new()?;
        let hub = source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[])?;
        let end = |namespace: &str, address| End::new(namespace, address);
        let (near, far) = (end(lab.laptop.name(), NEAR), end(lab.abroad.name(), FAR));
        let wan = Wan::join(&near, &far, Link::symmetric(Conditions::clean(RATE, rtt)), 1)?;
        let server = Server::start(Some(&lab.abroad), FAR.into(), &hub.server_config())?;
        let client = Client::start(Some(&lab.laptop), &server.invite("bench")?)?;
        let start = |kind: &EngineKind| Ok((*kind, Puller::start(*kind, &lab.laptop, &client)?));
        let pullers = engines.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { rtt, pullers, _client: client, _server: server, _wan: wan, hub, _lab: lab, images: 0 })
    }

    /// Each engine pulls something that doesn't count; something large, too, if the link's rate shall be known.
    pub(super) fn warm_up(&mut self, rate: bool) -> Result<()> {
        let engines: Vec<_> = self.pullers.keys().copied().collect();
        for engine in engines {
            self.pull_once(engine, Case::Cold)?;
            if rate {
                self.pull_once(engine, Case::FiveLayers)?;
            }
        }
        Ok(())
    }

    /// Puts a new image where nothing has ever been, and returns its name.
    pub(super) fn publish(&mut self, case: Case) -> Result<String> {
        self.images += 1;
        let repository = format!("trips/image-{}", self.images);
        let (tag, image) = ("latest".to_owned(), case.recipe(self.rtt, self.images));
        self.hub.publish(&Publication { repository: repository.clone(), tag, image })?;
        Ok(format!("docker.io/{repository}:latest"))
    }

    /// One pull, and what it had the server ask until all was quiet again.
    pub(super) fn pull(&self, engine: EngineKind, image: &str) -> Result<Pull> {
        let command = self.puller(engine)?.pull(image);
        self.hub.clear_journal()?;
        let started = Instant::now();
        run(command, PATIENCE)?.succeeded()?;
        let seconds = started.elapsed().as_secs_f64();
        self.settle()?;
        Ok(Pull::new(seconds, &self.hub.journal()?))
    }

    /// Has the engine forget it.
    pub(super) fn remove(&self, engine: EngineKind, image: &str) -> Result<()> {
        self.puller(engine)?.remove(image)
    }

    fn pull_once(&mut self, engine: EngineKind, case: Case) -> Result<()> {
        let image = self.publish(case)?;
        self.pull(engine, &image)?;
        self.remove(engine, &image)
    }

    fn puller(&self, engine: EngineKind) -> Result<&Puller> {
        self.pullers.get(&engine).with_context(|| format!("{engine} wasn't started"))
    }

    /// Waits until nothing has been asked for a round trip and a bit: what a pull has set going is still that pull's.
    fn settle(&self) -> Result<()> {
        /// What the far end may take to think of something.
        const BIT: Duration = Duration::from_millis(150);
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.hub.journal()?.len();
        loop {
            thread::sleep(self.rtt + BIT);
            let now = self.hub.journal()?.len();
            if now == seen {
                return Ok(());
            }
            seen = now;
            ensure!(Instant::now() < deadline, "the server asks the registry without end");
        }
    }
}
