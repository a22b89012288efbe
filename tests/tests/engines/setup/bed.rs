//! One server and one client for all cells, a registry of each kind behind the server, and one on the laptop to push to.
//! Must never give the laptop another path to the stand-ins than the tunnel.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use docxy_tests::{
    docxy::{Client, Server},
    engine::{PulledImage, Registry},
    net::Lab,
    stand_in::StandIn,
};
use hub_stand_in::{Image, Listen};

use crate::support::testbed::ALICE;

/// The kind of a registry, its name, its image, and the `--kind` of its stand-in. Each stand-in has a CA of its own, which
/// the server trusts for it alone; the last one is nothing but such a registry in a private network.
const REGISTRIES: [(&str, &str, &str, &str); 6] = [
    ("Hub-like", HUB, "library/hello", "hub"),
    ("ghcr-like", "ghcr.io", "owner/app", "one-host"),
    ("no auth", "mcr.microsoft.com", "dotnet/runtime", "no-auth"),
    ("access_token only", "team.azurecr.io", "team/app", "access-token-only"),
    ("redirecting", "registry.k8s.io", "pause", "redirecting"),
    ("private CA", "registry.corp.example", "corp/app", "hub"),
];

pub(super) const HUB: &str = "docker.io";

/// An image of Docker Hub that is only pushed.
pub(super) const PUSHED: &str = "library/pushed";

/// An image of Docker Hub that only [`ALICE`] may pull.
pub(super) const PRIVATE: &str = "alice/private";

/// Drop order: the lab last.
pub(super) struct Bed {
    client: Client,
    _server: Server,
    pub(super) registries: Vec<Upstream>,
    pub(super) private: PulledImage,
    /// The registry on the laptop.
    pub(super) target: Registry,
    pub(super) lab: Lab,
}

/// A registry behind the server.
pub(super) struct Upstream {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) image: &'static str,
    pub(super) expected: PulledImage,
    stand_in: StandIn,
}

impl Bed {
    pub(super) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let registries = REGISTRIES.iter().map(|registry| Upstream::start(&lab, *registry));
        let registries = registries.collect::<Result<Vec<_>>>()?;
        let hub = &registries.first().context("Docker Hub comes first")?.stand_in;
        let private = hub.expected(PRIVATE, &Image::hello_from(PRIVATE)?)?;
        let mut config = hub.server_config();
        for registry in &registries[1..] {
            registry.stand_in.add_to(&mut config, registry.name);
        }
        let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &config)?;
        let client = Client::start(Some(&lab.laptop), &server.invite("laptop")?)?;
        let target = Registry::start(&lab.laptop, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        Ok(Self { client, _server: server, registries, private, target, lab })
    }

    /// The client as an engine names it: `127.0.0.1:PORT`.
    pub(super) fn client_host(&self) -> String {
        self.client.address().to_string()
    }
}

impl Upstream {
    fn start(lab: &Lab, registry: (&'static str, &'static str, &'static str, &str)) -> Result<Self> {
        let (kind, name, image, stand_in_kind) = registry;
        let account = format!("--account={}:{}", ALICE.user, ALICE.password);
        let (public, of_kind) = (format!("--image={image}"), format!("--kind={stand_in_kind}"));
        let (pushed, private) = (format!("--image={PUSHED}"), format!("--private={PRIVATE}"));
        let host = format!("--host={name}");
        let only: &[&str] = if name == HUB { &[&pushed, &private, &account] } else { &[&host] };
        let stand_in =
            StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &[&[&public[..], &of_kind], only].concat())?;
        let expected = stand_in.expected(image, &Image::hello_from(image)?)?;
        Ok(Self { kind, name, image, expected, stand_in })
    }
}
