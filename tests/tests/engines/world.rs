//! A blocked laptop, a server abroad and Docker Hub's stand-in, each in its namespace, all of it real processes.
//! Must never give the laptop any way to the stand-in but the tunnel.

use std::net::SocketAddr;

use anyhow::Result;
use docxy_tests::{
    docxy::{Client, Server},
    engine::{Account, Pulled},
    hub::{Entry, Format, Image, Listen, seed_of},
    net::Lab,
    stand_in::StandIn,
};

/// The one account that the stand-in knows.
pub(crate) const ALICE: Account<'static> = Account { user: "alice", password: "wonderland" };

/// Everything between an engine and the stand-in. Dropped in this order: the lab last.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) hub: Hub,
    /// The registry [`OTHER`], in a world with two registries.
    pub(crate) other: Option<StandIn>,
    pub(crate) lab: Lab,
}

/// Another registry than Docker Hub: `owner/image` is public, `owner/private` is [`ALICE`]'s.
pub(crate) const OTHER: &str = "evil.example";

/// Its challenge for manifests, which asks for one of her Docker Hub tokens.
const HOSTILE: &str = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                       scope=\"repository:alice/private:pull,push\"";

/// The stand-in's process in the hub's namespace, and what it holds.
pub(crate) struct Hub {
    stand_in: StandIn,
    /// `library/hello`: small, multi-arch, OCI.
    pub(crate) hello: Pulled,
    /// `library/five`: five layers, multi-arch, in Docker's media types.
    pub(crate) five: Pulled,
    /// `alice/private`: only for [`ALICE`].
    pub(crate) private: Pulled,
}

/// What stands behind the stand-in's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The stand-in itself, which redirects blobs to its CDN and counts pulls.
    StandIn,
    /// The stand-in, and beside it [`OTHER`].
    TwoRegistries,
    /// A real registry process (Debian's `docker-registry`) with the stand-in's token service.
    RealRegistry,
}

/// Runs `test` in a new world. Panics if it fails, while the world is still there to show its logs.
pub(crate) fn in_a_new_world(test: impl FnOnce(&mut World) -> Result<()>) {
    in_a_world_with(Behind::StandIn, test);
}

/// The same with a choice of what the server finds.
pub(crate) fn in_a_world_with(behind: Behind, test: impl FnOnce(&mut World) -> Result<()>) {
    let mut world =
        World::new(behind).unwrap_or_else(|error| panic!("there is no world to test in: {error:?}"));
    if let Err(error) = test(&mut world) {
        panic!("{error:?}");
    }
}

impl World {
    fn new(behind: Behind) -> Result<Self> {
        let lab = Lab::new()?;
        let hub = Hub::start(&lab, behind)?;
        let mut config = hub.stand_in.server_config();
        let other = match behind {
            Behind::TwoRegistries => Some(start_other(&lab)?),
            Behind::StandIn | Behind::RealRegistry => None,
        };
        if let Some(other) = &other {
            other.add_to(&mut config, OTHER);
        }
        let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &config)?;
        let client = Client::start(Some(&lab.laptop), &server.invite("laptop")?)?;
        Ok(Self { client, server, hub, other, lab })
    }

    /// The client as engines name a registry in an image's name: `127.0.0.1:PORT`.
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
    /// Addresses of its three hosts.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        self.stand_in.addresses()
    }

    /// All requests so far.
    pub(crate) fn journal(&self) -> Result<Vec<Entry>> {
        self.stand_in.journal()
    }

    /// Forgets them.
    pub(crate) fn clear_journal(&self) -> Result<()> {
        self.stand_in.clear_journal()
    }

    fn start(lab: &Lab, behind: Behind) -> Result<Self> {
        const FIVE_LEN: u64 = 5 << 20;
        let five = format!("--docker-image=library/five:{FIVE_LEN}");
        let account = format!("--account={}:{}", ALICE.user, ALICE.password);
        let mut content = vec!["--image=library/hello", &five, "--private=alice/private", &account];
        if behind == Behind::RealRegistry {
            content.push("--distribution");
        }
        let stand_in = StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &content)?;
        let five = Image::five_layers(seed_of("library/five"), FIVE_LEN)?.in_format(Format::Docker);
        Ok(Self {
            hello: stand_in.wanted("library/hello", &Image::hello_from("library/hello")?)?,
            five: stand_in.wanted("library/five", &five)?,
            private: stand_in.wanted("alice/private", &Image::hello_from("alice/private")?)?,
            stand_in,
        })
    }
}
