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
    engine::DirectAccess,
    hub::{ImageSpec, Listen, LoggedRequest, PublishRequest},
    net::{Lab, Namespace},
    process::run,
    stand_in::StandIn,
    wan::{Conditions, End, Link, Rate, Wan},
};

use super::{
    engine::{Engine, EngineKind},
    pull::Pull,
    route::Route,
    scenario::Scenario,
};
use crate::bulk_source;

/// The link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// The stand-in's hosts all listen on 443, so each needs an address.
const HUB_ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 62, 0, 3), Ipv4Addr::new(10, 62, 0, 4), Ipv4Addr::new(10, 62, 0, 5)];

/// What the link carries.
const RATE: Rate = Rate::mbit(100);

/// How long a pull may take.
const PULL_TIMEOUT: Duration = Duration::from_secs(60);

/// All that pulls over one link. Dropped in this order: the link's ends last.
pub(super) struct Testbed {
    pub(super) rtt: Duration,
    engines: BTreeMap<EngineKind, Engine>,
    client: Client,
    _server: Server,
    _wan: Wan,
    hub: StandIn,
    lab: Lab,
    images: u64,
}

impl Testbed {
    /// One over a link of this length.
    pub(super) fn new(rtt: Duration, engines: &[EngineKind], route: Route) -> Result<Self> {
        let lab = Lab::new()?;
        let end = |namespace: &str, address| End::new(namespace, address);
        let (client_end, server_end) =
            (end(lab.laptop.name(), CLIENT_ADDRESS), end(lab.abroad.name(), SERVER_ADDRESS));
        let wan = Wan::join(&client_end, &server_end, Link::symmetric(Conditions::clean(RATE, rtt)), 1)?;
        let hub = match route {
            Route::Tunnel => bulk_source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[])?,
            Route::Direct => hub_at_server(&lab)?,
        };
        let server = Server::start(Some(&lab.abroad), SERVER_ADDRESS.into(), &hub.server_config())?;
        // Its log tells what came ahead, and what of that was asked for.
        let log = ["--log", "info,docxy_client::metadata=debug"];
        let client = Client::start_with(Some(&lab.laptop), &server.invite("bench")?, &log)?;
        let direct = DirectAccess { hosts: hub.resolve().clone(), ca: hub.ca() };
        let start = |kind: &EngineKind| -> Result<_> {
            let engine = match route {
                Route::Tunnel => Engine::start(*kind, &lab.laptop, &client)?,
                Route::Direct => Engine::direct(*kind, &lab.laptop, &direct)?,
            };
            Ok((*kind, engine))
        };
        let engines = engines.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { rtt, engines, client, _server: server, _wan: wan, hub, lab, images: 0 })
    }

    /// Each engine pulls something that doesn't count; something large, too, if the link's rate shall be known.
    pub(super) fn warm_up(&mut self, rate: bool) -> Result<()> {
        let engines: Vec<_> = self.engines.keys().copied().collect();
        for engine in engines {
            self.pull_once(engine, Scenario::Cold)?;
            if rate {
                self.pull_once(engine, Scenario::FiveLayers)?;
            }
        }
        Ok(())
    }

    /// Puts a new image where nothing has ever been, and returns its name.
    pub(super) fn publish(&mut self, scenario: Scenario) -> Result<String> {
        self.images += 1;
        let repository = format!("trips/image-{}", self.images);
        self.publish_as(&repository, scenario.recipe(self.rtt, self.images))
    }

    /// Puts an image where there may be an older one, whose tag it takes, and returns its name.
    pub(super) fn publish_as(&self, repository: &str, image: ImageSpec) -> Result<String> {
        self.hub.publish(&PublishRequest {
            repository: repository.to_owned(),
            tag: "latest".to_owned(),
            image,
        })?;
        Ok(format!("docker.io/{repository}:latest"))
    }

    /// Forgets what upstream was asked so server_end.
    pub(super) fn clear_request_log(&self) -> Result<()> {
        self.hub.clear_request_log()
    }

    /// What upstream was asked since then, when all is quiet.
    pub(super) fn request_log(&self) -> Result<Vec<LoggedRequest>> {
        self.wait_until_quiet()?;
        self.hub.request_log()
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
        self.clear_request_log()?;
        let seconds = self.time(engine, image)?.as_secs_f64();
        Ok(Pull::new(seconds, &self.request_log()?))
    }

    /// One pull, and nothing else.
    pub(super) fn time(&self, engine: EngineKind, image: &str) -> Result<Duration> {
        let command = self.engine(engine)?.pull(image);
        let started = Instant::now();
        run(command, PULL_TIMEOUT)?.succeeded()?;
        Ok(started.elapsed())
    }

    /// Has the engine forget it.
    pub(super) fn remove(&self, engine: EngineKind, image: &str) -> Result<()> {
        self.engine(engine)?.remove(image)
    }

    fn pull_once(&mut self, engine: EngineKind, scenario: Scenario) -> Result<()> {
        let image = self.publish(scenario)?;
        self.pull(engine, &image)?;
        self.remove(engine, &image)
    }

    fn engine(&self, engine: EngineKind) -> Result<&Engine> {
        self.engines.get(&engine).with_context(|| format!("{engine} wasn't started"))
    }

    /// Waits until nothing has been asked for a round trip and a bit: what a pull has set going is still that pull's.
    fn wait_until_quiet(&self) -> Result<()> {
        /// What the server_end end may take to think of something.
        const SERVER_THINK_TIME: Duration = Duration::from_millis(150);
        let deadline = Instant::now() + PULL_TIMEOUT;
        let mut before = self.hub.request_log()?.len();
        loop {
            thread::sleep(self.rtt + SERVER_THINK_TIME);
            let now = self.hub.request_log()?.len();
            if now == before {
                return Ok(());
            }
            before = now;
            ensure!(Instant::now() < deadline, "the server asks the registry without end");
        }
    }
}

/// The stand-in at the link's server_end end, at addresses that it leads to.
fn hub_at_server(lab: &Lab) -> Result<StandIn> {
    for host in HUB_ADDRESSES {
        let mut command = lab.abroad.command("ip");
        command.args(["addr", "add", &format!("{host}/32"), "dev", "lo"]);
        run(command, PULL_TIMEOUT)?.succeeded()?;
    }
    let [registry, auth, cdn] = HUB_ADDRESSES.map(|host| SocketAddr::new(host.into(), 443));
    bulk_source::start(Some(&lab.abroad), Listen { registry, auth, cdn }, &[])
}
