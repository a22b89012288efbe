//! The stand-in, and the real servers and clients with emulated links between them.
//! Must never share a link between two measurements.

mod joined;

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hub_stand_in::Listen;
pub use joined::Joined;

use crate::{
    docxy::{Client, Launch, Server},
    engine::{Arrivals, Body, PlainEngine},
    net::Lab,
    stand_in::StandIn,
    wan::{End, Link, Wan},
};

/// The repository of the blob.
const BLOB: &str = "wan/blob";

/// The repository of a small image.
pub const IMAGE: &str = "wan/image";

/// A laptop, servers abroad, and Docker Hub. Each server has a link of its own to the laptop. Drop order: the lab last.
pub struct TunnelLab {
    /// Docker Hub.
    pub hub: StandIn,
    /// The namespaces.
    pub lab: Lab,
}

/// A server and its link to the laptop, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abroad(pub u8);

impl Abroad {
    /// The first server.
    pub const FIRST: Self = Self(0);
    /// Another one.
    pub const SECOND: Self = Self(1);

    /// The server's address.
    pub const fn server(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 62, self.0, 2)
    }

    /// The laptop's address on the link to it.
    pub const fn laptop(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 62, self.0, 1)
    }
}

impl TunnelLab {
    /// A lab with a blob of this size. Needs root.
    pub fn new(blob_mib: u64) -> Result<Self> {
        Self::with(blob_mib, &[])
    }

    /// The same with these further arguments of the stand-in.
    pub fn with(blob_mib: u64, further: &[&str]) -> Result<Self> {
        let lab = Lab::new()?;
        let (blob, image) = (format!("--blob={BLOB}:{blob_mib}MiB"), format!("--image={IMAGE}"));
        let hub = StandIn::start(
            Some(&lab.hub),
            Listen::on(Lab::HUB),
            &[&[&*blob, &image, "--anonymous-pulls=1000000", "--token-lifetime=86400"], further].concat(),
        )?;
        Ok(Self { hub, lab })
    }

    /// Brings up the link to a server.
    pub fn link(&self, abroad: Abroad, link: Link, seed: u64) -> Result<Wan> {
        let (left, right) = self.ends(abroad);
        Ok(Wan::join(&left, &right, link, seed)?)
    }

    /// The laptop's end and the server's end of a link.
    pub fn ends(&self, abroad: Abroad) -> (End, End) {
        (End::new(self.lab.laptop.name(), abroad.laptop()), End::new(self.lab.abroad.name(), abroad.server()))
    }

    /// Starts a server.
    pub fn server(&self, abroad: Abroad, launch: &Launch) -> Result<Server> {
        Server::start_as(launch, Some(&self.lab.abroad), abroad.server().into(), &self.hub.server_config())
    }

    /// Starts a client with these links, one on each line. It may still be connecting.
    pub fn client(&self, links: &str, launch: &Launch) -> Result<Client> {
        Client::start_as(launch, Some(&self.lab.laptop), links)
    }

    /// The same, and waits until the tunnel is up.
    pub fn connected_client(&self, links: &str, launch: &Launch) -> Result<Client> {
        /// On a busy machine.
        const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
        let mut client = self.client(links, launch)?;
        client.wait_until_up(CONNECT_TIMEOUT)?;
        Ok(client)
    }

    /// An engine on the laptop.
    pub fn engine(&self, client: &Client) -> PlainEngine {
        PlainEngine::new(&self.lab.laptop, client.address())
    }

    /// Begins a pull of the blob, and waits for the head of the response.
    pub fn begin(&self, client: &Client) -> Result<Body> {
        let engine = self.engine(client);
        engine.blob(BLOB, self.hub.digest(BLOB)?, &engine.log_in(BLOB)?)
    }

    /// Waits for the end of a pull of the blob, and verifies it.
    pub fn finish(&self, body: Body) -> Result<Arrivals> {
        let (found, arrivals) = body.finish()?;
        let expected = self.hub.digest(BLOB)?;
        ensure!(found == expected, "{expected} arrived as {found}");
        Ok(arrivals)
    }

    /// Pulls the blob, and verifies it.
    pub fn pull(&self, client: &Client) -> Result<Arrivals> {
        self.finish(self.begin(client)?)
    }

    /// Asks for the small image's manifest as an engine does, with everything before it.
    pub fn manifest(&self, client: &Client) -> Result<Instant> {
        let engine = self.engine(client);
        engine.manifest(IMAGE, &engine.log_in(IMAGE)?)
    }
}
