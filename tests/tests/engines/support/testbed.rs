//! A laptop behind a firewall, a server abroad and Docker Hub's stand-in, each in its own namespace, as real
//! processes.
//! Must never give the laptop another path to the stand-in than the tunnel.

use std::net::SocketAddr;

use anyhow::Result;
use docxy_tests::{
    docxy::{Client, Server},
    engine::{Account, PulledImage},
    net::Lab,
    stand_in::StandIn,
};
use hub_stand_in::{Format, Image, Listen, LoggedRequest, PublishRequest, Rule, seed_for_repository};

/// The only account of the stand-in.
pub(crate) const ALICE: Account<'static> = Account { user: "alice", password: "wonderland" };

/// Everything between an engine and the stand-in. Drop order: the lab last.
pub(crate) struct Testbed {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) hub: Hub,
    /// The registry [`OTHER`], in a testbed with two registries.
    pub(crate) other: Option<StandIn>,
    pub(crate) lab: Lab,
}

/// Another registry than Docker Hub: `owner/image` is public, `owner/private` is [`ALICE`]'s.
pub(crate) const OTHER: &str = "evil.example";

/// Its challenge for manifests, which asks for one of her Docker Hub tokens.
const HOSTILE: &str = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                       scope=\"repository:alice/private:pull,push\"";

/// The stand-in's process in the hub's namespace, and its images.
pub(crate) struct Hub {
    stand_in: StandIn,
    /// `library/hello`: small, multi-arch, OCI.
    pub(crate) hello: PulledImage,
    /// `library/five`: five layers, multi-arch, in Docker's media types.
    pub(crate) five: PulledImage,
    /// `alice/private`: only for [`ALICE`].
    pub(crate) private: PulledImage,
}

/// The registry behind the stand-in's registry host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegistryKind {
    /// The stand-in itself, which redirects blobs to its CDN and counts pulls.
    StandIn,
    /// The stand-in, and beside it [`OTHER`].
    TwoRegistries,
    /// The stand-in, which lets no one pull without an account.
    NoAnonymousPulls,
    /// A real registry process (Debian's `docker-registry`) with the stand-in's token service.
    RealRegistry,
}

/// Runs `test` in a new testbed. Panics if it fails, before the testbed is dropped, which prints its logs.
pub(crate) fn with_testbed(test: impl FnOnce(&mut Testbed) -> Result<()>) {
    with_testbed_on(RegistryKind::StandIn, test);
}

/// The same with a choice of the registry.
pub(crate) fn with_testbed_on(registry_kind: RegistryKind, test: impl FnOnce(&mut Testbed) -> Result<()>) {
    let mut testbed =
        Testbed::new(registry_kind).unwrap_or_else(|error| panic!("cannot set up the testbed: {error:?}"));
    if let Err(error) = test(&mut testbed) {
        panic!("{error:?}");
    }
}

impl Testbed {
    fn new(registry_kind: RegistryKind) -> Result<Self> {
        let lab = Lab::new()?;
        let hub = Hub::start(&lab, registry_kind)?;
        let mut config = hub.stand_in.server_config();
        let other = match registry_kind {
            RegistryKind::TwoRegistries => Some(start_other(&lab)?),
            RegistryKind::StandIn | RegistryKind::NoAnonymousPulls | RegistryKind::RealRegistry => None,
        };
        if let Some(other) = &other {
            other.add_to(&mut config, OTHER);
        }
        let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &config)?;
        let client = Client::start(Some(&lab.laptop), &server.invite("laptop")?)?;
        Ok(Self { client, server, hub, other, lab })
    }

    /// The client as an engine names it in an image's name: `127.0.0.1:PORT`.
    pub(crate) fn registry(&self) -> String {
        self.client.address().to_string()
    }
}

fn start_other(lab: &Lab) -> Result<StandIn> {
    let account = format!("--account={}:{}", ALICE.user, ALICE.password);
    let (host, challenge) = (format!("--host={OTHER}"), format!("--challenge={HOSTILE}"));
    let content = ["--image=owner/image", "--private=owner/private", &account, &host, &challenge];
    StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &content)
}

impl Hub {
    /// The addresses of its three hosts.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        self.stand_in.addresses()
    }

    /// All requests so far.
    pub(crate) fn request_log(&self) -> Result<Vec<LoggedRequest>> {
        self.stand_in.request_log()
    }

    /// Forgets them.
    pub(crate) fn clear_request_log(&self) -> Result<()> {
        self.stand_in.clear_request_log()
    }

    /// Publishes another image.
    pub(crate) fn publish(&self, request: &PublishRequest) -> Result<()> {
        self.stand_in.publish(request)
    }

    /// Arms a fault.
    pub(crate) fn arm(&self, rule: &Rule) -> Result<()> {
        self.stand_in.arm(rule)
    }

    /// Disarms all faults.
    pub(crate) fn reset_faults(&self) -> Result<()> {
        self.stand_in.reset_faults()
    }

    fn start(lab: &Lab, registry_kind: RegistryKind) -> Result<Self> {
        const FIVE_LEN: u64 = 5 << 20;
        let five = format!("--docker-image=library/five:{FIVE_LEN}");
        let account = format!("--account={}:{}", ALICE.user, ALICE.password);
        let mut content = vec!["--image=library/hello", &five, "--private=alice/private", &account];
        if registry_kind == RegistryKind::RealRegistry {
            content.push("--distribution");
        }
        if registry_kind == RegistryKind::NoAnonymousPulls {
            content.push("--anonymous-pulls=0");
        }
        let stand_in = StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &content)?;
        let five =
            Image::five_layers(seed_for_repository("library/five"), FIVE_LEN)?.in_format(Format::Docker);
        Ok(Self {
            hello: stand_in.expected("library/hello", &Image::hello_from("library/hello")?)?,
            five: stand_in.expected("library/five", &five)?,
            private: stand_in.expected("alice/private", &Image::hello_from("alice/private")?)?,
            stand_in,
        })
    }
}
