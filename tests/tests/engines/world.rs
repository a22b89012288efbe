//! A blocked laptop, a server abroad and Docker Hub's stand-in, each in its namespace, all of it real processes.
//! Must never give the laptop any way to the stand-in but the tunnel.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use docxy_tests::{
    docxy::{Client, Server, ServerConfig, Upstream},
    engine::{Account, Pulled},
    hub::{Entry, Format, Image, RemoteHub, seed_of},
    net::Lab,
    process::{PATIENCE, Process, binary, scratch},
};
use serde::Deserialize;
use tempfile::TempDir;

use crate::wanted::wanted;

/// The one account that the stand-in knows.
pub(crate) const ALICE: Account<'static> = Account { user: "alice", password: "wonderland" };

/// Everything between an engine and the stand-in. Dropped in this order: the lab last.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) hub: StandIn,
    pub(crate) lab: Lab,
}

/// The stand-in's process in the hub's namespace, and what it holds.
pub(crate) struct StandIn {
    _process: Process,
    _folder: TempDir,
    ready: Ready,
    /// `library/hello`: small, multi-arch, OCI.
    pub(crate) hello: Pulled,
    /// `library/five`: five layers, multi-arch, in Docker's media types.
    pub(crate) five: Pulled,
    /// `alice/private`: only for [`ALICE`].
    pub(crate) private: Pulled,
}

/// What the stand-in tells about itself.
#[derive(Deserialize)]
struct Ready {
    registry: SocketAddr,
    auth: SocketAddr,
    cdn: SocketAddr,
    resolve: BTreeMap<String, SocketAddr>,
    ca: PathBuf,
    control: PathBuf,
    published: BTreeMap<String, String>,
}

/// What stands behind the stand-in's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The stand-in itself, which redirects blobs to its CDN and counts pulls.
    StandIn,
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
        let hub = StandIn::start(&lab, behind)?;
        let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &hub.as_upstream())?;
        let client = Client::start(Some(&lab.laptop), &server.invite("laptop")?)?;
        Ok(Self { client, server, hub, lab })
    }

    /// The client as engines name a registry in an image's name: `127.0.0.1:PORT`.
    pub(crate) fn registry(&self) -> String {
        self.client.address().to_string()
    }
}

impl StandIn {
    /// Addresses of its three hosts.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        [self.ready.registry, self.ready.auth, self.ready.cdn]
    }

    /// All requests so far.
    pub(crate) fn journal(&self) -> Result<Vec<Entry>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(RemoteHub::at(&self.ready.control).journal())?)
    }

    fn start(lab: &Lab, behind: Behind) -> Result<Self> {
        const FIVE_LEN: u64 = 5 << 20;
        let folder = scratch()?;
        let path = |file: &str| folder.path().join(file);
        let mut command = lab.hub.command(binary("hub")?);
        for host in ["registry", "auth", "cdn"] {
            command.args([format!("--listen-{host}"), SocketAddr::new(Lab::HUB, 0).to_string()]);
        }
        command.args(["--image", "library/hello", "--docker-image", &format!("library/five:{FIVE_LEN}")]);
        command.args(["--private", "alice/private"]);
        command.args(["--account", &format!("{}:{}", ALICE.user, ALICE.password)]);
        if behind == Behind::RealRegistry {
            command.arg("--distribution");
        }
        command.arg("--control").arg(path("control"));
        command.arg("--ca-out").arg(path("ca.pem"));
        command.arg("--ready-file").arg(path("ready"));
        let mut process = Process::spawn("hub", command, folder.path())?;
        let ready = path("ready");
        let ready: Ready = process.wait_for("be ready", PATIENCE, |_| {
            Ok(if ready.exists() { Some(serde_json::from_slice(&fs::read(&ready)?)?) } else { None })
        })?;
        let five = Image::five_layers(seed_of("library/five"), FIVE_LEN)?.in_format(Format::Docker);
        Ok(Self {
            hello: ready.wanted("library/hello", &Image::hello_from("library/hello")?)?,
            five: ready.wanted("library/five", &five)?,
            private: ready.wanted("alice/private", &Image::hello_from("alice/private")?)?,
            ready,
            _process: process,
            _folder: folder,
        })
    }

    /// The server's configuration for it: Docker Hub, with a test's CA and without DNS.
    fn as_upstream(&self) -> ServerConfig {
        let hub = Upstream { api: "https://registry-1.docker.io".to_owned(), ca: self.ready.ca.clone() };
        ServerConfig {
            registries: BTreeMap::from([("docker.io".to_owned(), hub)]),
            resolve: self.ready.resolve.clone(),
            ..ServerConfig::default()
        }
    }
}

impl Ready {
    /// `image`, once it is sure that the stand-in made the same one as `repository`.
    fn wanted(&self, repository: &str, image: &Image) -> Result<Pulled> {
        let published = self.published.get(repository).with_context(|| format!("no {repository}"))?;
        ensure!(published == image.digest().as_str(), "{repository} is {published}, not {}", image.digest());
        Ok(wanted(image))
    }
}
