//! A laptop with its engines and a client, a link of some length, a server at its other end, and the stand-in next to it.
//! Where engines go straight to the registry, they cross the same link to it.
//! Must never measure before the tunnel is warm.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use docxy_tests::{
    docxy::{Client, Server},
    engine::Direct,
    hub::{Entry, Listen, Publication, Recipe},
    net::{Lab, Namespace},
    process::run,
    stand_in::StandIn,
    wan::{Conditions, End, Link, Rate, Wan},
};

use super::{
    case::Case,
    pull::Pull,
    puller::{EngineKind, Puller},
    way::Way,
};
use crate::source;

/// The link's ends.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// The stand-in's hosts all listen on 443, so each needs an address.
const HOSTS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 62, 0, 3), Ipv4Addr::new(10, 62, 0, 4), Ipv4Addr::new(10, 62, 0, 5)];

/// What the link carries.
const RATE: Rate = Rate::mbit(100);

/// How long a pull may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that pulls over one link. Dropped in this order: the link's ends last.
pub(super) struct World {
    pub(super) rtt: Duration,
    pullers: BTreeMap<EngineKind, Puller>,
    client: Client,
    _server: Server,
    _wan: Wan,
    hub: StandIn,
    lab: Lab,
    images: u64,
}

impl World {
    /// One over a link of this length.
    pub(super) fn new(rtt: Duration, engines: &[EngineKind], way: Way) -> Result<Self> {
        let lab = Lab::new()?;
        let end = |namespace: &str, address| End::new(namespace, address);
        let (near, far) = (end(lab.laptop.name(), NEAR), end(lab.abroad.name(), FAR));
        let wan = Wan::join(&near, &far, Link::symmetric(Conditions::clean(RATE, rtt)), 1)?;
        let hub = match way {
            Way::Tunnel => source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[])?,
            Way::Direct => beside_the_server(&lab)?,
        };
        let server = Server::start(Some(&lab.abroad), FAR.into(), &hub.server_config())?;
        // Its log tells what came ahead, and what of that was asked for.
        let log = ["--log", "info,docxy_client::metadata=debug"];
        let client = Client::start_with(Some(&lab.laptop), &server.invite("bench")?, &log)?;
        let direct = Direct { hosts: hub.resolve().clone(), ca: hub.ca() };
        let start = |kind: &EngineKind| -> Result<_> {
            let puller = match way {
                Way::Tunnel => Puller::start(*kind, &lab.laptop, &client)?,
                Way::Direct => Puller::direct(*kind, &lab.laptop, &direct)?,
            };
            Ok((*kind, puller))
        };
        let pullers = engines.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { rtt, pullers, client, _server: server, _wan: wan, hub, lab, images: 0 })
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
        self.put(&repository, case.recipe(self.rtt, self.images))
    }

    /// Puts an image where there may be an older one, whose tag it takes, and returns its name.
    pub(super) fn put(&self, repository: &str, image: Recipe) -> Result<String> {
        self.hub.publish(&Publication {
            repository: repository.to_owned(),
            tag: "latest".to_owned(),
            image,
        })?;
        Ok(format!("docker.io/{repository}:latest"))
    }

    /// Forgets what upstream was asked so far.
    pub(super) fn clear_journal(&self) -> Result<()> {
        self.hub.clear_journal()
    }

    /// What upstream was asked since then, when all is quiet.
    pub(super) fn journal(&self) -> Result<Vec<Entry>> {
        self.settle()?;
        self.hub.journal()
    }

    /// Where engines and whoever else is on the laptop find the client.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The laptop.
    pub(super) fn laptop(&self) -> &Namespace {
        &self.lab.laptop
    }

    /// One pull, and what it had the server ask until all was quiet again.
    pub(super) fn pull(&self, engine: EngineKind, image: &str) -> Result<Pull> {
        self.clear_journal()?;
        let seconds = self.time(engine, image)?.as_secs_f64();
        Ok(Pull::new(seconds, &self.journal()?))
    }

    /// One pull, and nothing else.
    pub(super) fn time(&self, engine: EngineKind, image: &str) -> Result<Duration> {
        let command = self.puller(engine)?.pull(image);
        let started = Instant::now();
        run(command, PATIENCE)?.succeeded()?;
        Ok(started.elapsed())
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

/// The stand-in at the link's far end, at addresses that it leads to.
fn beside_the_server(lab: &Lab) -> Result<StandIn> {
    for host in HOSTS {
        let mut command = lab.abroad.command("ip");
        command.args(["addr", "add", &format!("{host}/32"), "dev", "lo"]);
        run(command, PATIENCE)?.succeeded()?;
    }
    let [registry, auth, cdn] = HOSTS.map(|host| SocketAddr::new(host.into(), 443));
    source::start(Some(&lab.abroad), Listen { registry, auth, cdn }, &[])
}
