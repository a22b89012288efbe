//! A laptop with its engines and a client, a link with a given round-trip time, a server at its other end, and the
//! stand-in. Engines without the client reach the stand-in over the same link.
//! Must never measure before the tunnel is warmed up.

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
    net::{Lab, Namespace},
    process::run,
    stand_in::StandIn,
    wan::{Conditions, End, Link, Rate, Wan},
};
use hub_stand_in::{ImageSpec, Listen, LoggedRequest, PublishRequest};

use super::{
    Options,
    engine::{Engine, EngineKind},
    pull::Pull,
    route::Route,
    scenario::Scenario,
};
use crate::bulk_source;

/// The addresses of the link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// All hosts of the stand-in listen on port 443, so each needs an address.
const HUB_ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 62, 0, 3), Ipv4Addr::new(10, 62, 0, 4), Ipv4Addr::new(10, 62, 0, 5)];

/// The link's rate in Mbit/s.
const RATE_MBIT: u64 = 100;

/// Timeout of a pull.
const PULL_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything for pulls over one link. Drop order: the link's ends last.
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
    /// A testbed over a link with this round-trip time.
    pub(super) fn new(rtt: Duration, options: &Options, route: Route) -> Result<Self> {
        let lab = Lab::new()?;
        let end = |namespace: &str, address| End::new(namespace, address);
        let (client_end, server_end) =
            (end(lab.laptop.name(), CLIENT_ADDRESS), end(lab.abroad.name(), SERVER_ADDRESS));
        let rate = Rate::mbit(RATE_MBIT / u64::from(options.slower));
        let wan = Wan::join(&client_end, &server_end, Link::symmetric(Conditions::clean(rate, rtt)), 1)?;
        let hub = match route {
            Route::Tunnel => bulk_source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[])?,
            Route::Direct => hub_at_server(&lab)?,
        };
        let server = Server::start(Some(&lab.abroad), SERVER_ADDRESS.into(), &hub.server_config())?;
        let leg = options.leg.as_ref().map(|leg| format!("--leg={leg}"));
        let cache_size = options.cache_size.as_ref().map(|size| format!("--cache-size={size}"));
        let arguments: Vec<&str> = leg.iter().chain(&cache_size).map(String::as_str).collect();
        let client = Client::start_with(Some(&lab.laptop), &server.invite("bench")?, &arguments)?;
        let direct = DirectAccess { hosts: hub.resolve().clone(), ca: hub.ca() };
        let start = |kind: &EngineKind| -> Result<_> {
            let engine = match route {
                Route::Tunnel => Engine::start(*kind, &lab.laptop, &client)?,
                Route::Direct => Engine::direct(*kind, &lab.laptop, &direct)?,
            };
            Ok((*kind, engine))
        };
        let engines = options.engine.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { rtt, engines, client, _server: server, _wan: wan, hub, lab, images: 0 })
    }

    /// Each engine pulls an image that is not measured; a large one too, if `rate` asks for a known link rate.
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

    /// Publishes a new image in a new repository. Returns its name.
    pub(super) fn publish(&mut self, scenario: Scenario) -> Result<String> {
        self.images += 1;
        let repository = format!("trips/image-{}", self.images);
        self.publish_as(&repository, scenario.image_spec(self.rtt, self.images))
    }

    /// Publishes an image; an older one loses the tag. Returns its name.
    pub(super) fn publish_as(&self, repository: &str, image: ImageSpec) -> Result<String> {
        self.hub.publish(&PublishRequest {
            repository: repository.to_owned(),
            tag: "latest".to_owned(),
            image,
        })?;
        Ok(format!("docker.io/{repository}:latest"))
    }

    /// Deletes the logged upstream requests.
    pub(super) fn clear_request_log(&self) -> Result<()> {
        self.hub.clear_request_log()
    }

    /// The upstream requests since then, once no more follow.
    pub(super) fn request_log(&self) -> Result<Vec<LoggedRequest>> {
        self.wait_until_quiet()?;
        self.hub.request_log()
    }

    /// The client.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The laptop's namespace.
    pub(super) fn laptop(&self) -> &Namespace {
        &self.lab.laptop
    }

    /// Measures one pull, with all upstream requests that follow from it.
    pub(super) fn pull(&self, engine: EngineKind, image: &str) -> Result<Pull> {
        self.clear_request_log()?;
        let seconds = self.time(engine, image)?.as_secs_f64();
        Ok(Pull::new(seconds, &self.request_log()?))
    }

    /// Runs one pull. Returns its duration.
    pub(super) fn time(&self, engine: EngineKind, image: &str) -> Result<Duration> {
        let command = self.engine(engine)?.pull(image);
        let started = Instant::now();
        run(command, PULL_TIMEOUT)?.succeeded()?;
        Ok(started.elapsed())
    }

    /// Removes the image from the engine.
    pub(super) fn remove(&self, engine: EngineKind, image: &str) -> Result<()> {
        self.engine(engine)?.remove(image)
    }

    fn pull_once(&mut self, engine: EngineKind, scenario: Scenario) -> Result<()> {
        let image = self.publish(scenario)?;
        self.pull(engine, &image)?;
        self.remove(engine, &image)
    }

    fn engine(&self, engine: EngineKind) -> Result<&Engine> {
        self.engines.get(&engine).with_context(|| format!("{engine} was not started"))
    }

    /// Waits until there has been no upstream request for a round trip and a bit: requests that follow a pull count
    /// as its own.
    fn wait_until_quiet(&self) -> Result<()> {
        /// How long the server may work before its next request.
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
            ensure!(Instant::now() < deadline, "the server does not stop sending requests to the registry");
        }
    }
}

/// The stand-in at the link's server end, at addresses that the laptop reaches over the link.
fn hub_at_server(lab: &Lab) -> Result<StandIn> {
    for host in HUB_ADDRESSES {
        let mut command = lab.abroad.command("ip");
        command.args(["addr", "add", &format!("{host}/32"), "dev", "lo"]);
        run(command, PULL_TIMEOUT)?.succeeded()?;
    }
    let [registry, auth, cdn] = HUB_ADDRESSES.map(|host| SocketAddr::new(host.into(), 443));
    bulk_source::start(Some(&lab.abroad), Listen { registry, auth, cdn }, &[])
}
