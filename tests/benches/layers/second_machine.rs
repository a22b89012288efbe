//! A second machine pulls an image that the first one has: by the first one's client, and by a client of its own, which finds
//! the first one. Beside them, nginx on the first machine serves files of the same length.
//! Must never count what comes before the layers.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use docxy_tests::{
    docxy::{Client, Server},
    engine::PlainEngine,
    net::{Lab, Namespace},
    process::{PROCESS_TIMEOUT, Process, scratch},
    stand_in::StandIn,
    stored,
    wan::{Rate, run_in_namespace},
};
use hub_stand_in::{Image, ImageSpec, Listen, PublishRequest};
use serde_json::Value;

use super::KEEPING;
use crate::{bulk_source, subject::Nginx, topology::Topology};

const REPOSITORY: &str = "bench/office";
const LAYERS: u64 = 4;

/// The second client's tunnel is slower than the network between the machines, as a line abroad is. Otherwise the client would
/// rightly take the layers from there.
const TUNNEL_RATE: &str = "--max-rate=down=200 Mbit/s";

/// The port for engines on the second machine. The namespace is this bench's own.
const PORT: u16 = 5080;
const NGINX_PORT: u16 = 5090;

/// How the machines are connected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    Gigabit,
    /// They are one machine.
    Loopback,
}

/// The pulls of one round, in seconds.
pub(super) struct Round {
    pub(super) nginx: f64,
    pub(super) mirror: f64,
    pub(super) neighbour: f64,
    /// What crossed the tunnel in the last two, as a share of the image.
    pub(super) crossed: f64,
}

/// The processes. Drop order: each requester before its responder, the lab last.
struct Office {
    _nginx: Process,
    first: Client,
    server: Server,
    _hub: StandIn,
    network: Network,
    /// The paths of the image's second manifest and its layers.
    manifest: String,
    layers: Vec<String>,
    layer_bytes: u64,
    lab: Lab,
}

pub(super) fn measure(network: Network, image_bytes: u64, runs: u32) -> Result<Vec<Round>> {
    let folder = scratch()?;
    let office = Office::open(network, image_bytes, folder.path())?;
    (0..runs).map(|_| office.round()).collect()
}

impl Network {
    /// The address of the first machine.
    fn address(self) -> IpAddr {
        match self {
            Self::Gigabit => Lab::LAPTOP,
            Self::Loopback => Topology::LOOPBACK,
        }
    }

    fn first(self, lab: &Lab) -> &Namespace {
        match self {
            Self::Gigabit => &lab.laptop,
            Self::Loopback => &lab.abroad,
        }
    }
}

impl Office {
    fn open(network: Network, image_bytes: u64, folder: &Path) -> Result<Self> {
        let lab = Lab::new()?;
        let hub = bulk_source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[])?;
        let spec = ImageSpec { seed: 18, layers: LAYERS, len: image_bytes };
        let (repository, tag) = (REPOSITORY.to_owned(), "latest".to_owned());
        hub.publish(&PublishRequest { repository, tag, image: spec })?;
        let image = Image::from_spec(spec)?;
        let platform = image.platform("amd64").context("amd64")?;
        let path = |kind: &str, digest: &dyn std::fmt::Display| format!("/v2/{REPOSITORY}/{kind}/{digest}");
        let layers: Vec<_> = platform.layers.iter().map(|layer| path("blobs", layer.blob.digest())).collect();
        let layer_bytes = platform.layers[0].blob.len();
        let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &hub.server_config())?;
        let address = network.address();
        let arguments = [
            KEEPING,
            &format!("--listen={address}:{PORT}"),
            "--allow-remote=10.61.1.0/24",
            &format!("--share={address}:0"),
        ];
        let first = Client::start_with(Some(network.first(&lab)), &server.invite("first")?, &arguments)?;
        let nginx = serve_file(network.first(&lab), (address, NGINX_PORT).into(), layer_bytes, folder)?;
        let manifest = path("manifests", &platform.manifest.digest);
        let mut office =
            Self { _nginx: nginx, first, server, _hub: hub, network, manifest, layers, layer_bytes, lab };
        office.first.wait_until_up(PROCESS_TIMEOUT)?;
        // A first pull as fast as this would leave out what the disk is too slow for.
        let warm = ["warm", "--quiet", "--platform=linux/amd64", REPOSITORY];
        office.first.command(&warm, PROCESS_TIMEOUT * 10)?;
        if network == Network::Gigabit {
            office.lab.limit_laptop(Rate::mbit(1000))?;
        }
        Ok(office)
    }

    fn round(&self) -> Result<Round> {
        let address = self.network.address();
        let second_machine = &self.lab.abroad;
        let files = vec!["/file".to_owned(); self.layers.len()];
        let nginx = self.read(second_machine, (address, NGINX_PORT).into(), &files)?;
        let (mirror, crossed) = self.pull(second_machine, &self.first, (address, PORT).into())?;
        let share = self.first.health()?["neighbours"]["shares_at"].as_str().context("shares_at")?.to_owned();
        let mut arguments = vec![KEEPING, "--share=127.0.0.1:0", "--neighbour", &share];
        if self.network == Network::Gigabit {
            arguments = vec![KEEPING, "--share=0", TUNNEL_RATE];
        }
        let mut second =
            Client::start_with(Some(second_machine), &self.server.invite("second")?, &arguments)?;
        second.wait_until_up(PROCESS_TIMEOUT)?;
        let has_found = |health: &Value| health["neighbours"]["known"] == 1;
        second.wait_for_health("find the first", PROCESS_TIMEOUT, has_found)?;
        let (neighbour, crossed_too) = self.pull(second_machine, &second, second.address())?;
        second.stop()?;
        self.server.revoke("second")?;
        let crossed = (crossed + crossed_too) as f64 / (self.layer_bytes * LAYERS) as f64;
        Ok(Round { nginx, mirror, neighbour, crossed })
    }

    /// Reads the image by this client, at this address. Returns how long its layers take, and how many bytes of them cross.
    fn pull(&self, reader: &Namespace, client: &Client, address: SocketAddr) -> Result<(f64, u64)> {
        let engine = PlainEngine::new(reader, address);
        engine.manifest(REPOSITORY, &engine.log_in(REPOSITORY)?)?;
        engine.ask(&self.manifest)?;
        let before = client.count("transfers/bytes_crossed")?;
        let seconds = self.read(reader, address, &self.layers)?;
        Ok((seconds, client.count("transfers/bytes_crossed")? - before))
    }

    /// Reads these all at once, each as long as a layer.
    fn read(&self, reader: &Namespace, server: SocketAddr, paths: &[String]) -> Result<f64> {
        let began = Instant::now();
        run_in_namespace(reader.name(), || {
            thread::scope(|scope| {
                let read = |path: &String| {
                    let path = path.clone();
                    scope.spawn(move || stored::read(server, &path, None, self.layer_bytes))
                };
                let readers: Vec<_> = paths.iter().map(read).collect();
                readers
                    .into_iter()
                    .try_for_each(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?)
            })
        })??;
        Ok(began.elapsed().as_secs_f64())
    }
}

/// Starts nginx as Debian configures it, with a file of this length in this folder.
fn serve_file(namespace: &Namespace, address: SocketAddr, bytes: u64, folder: &Path) -> Result<Process> {
    let root = folder.join("files");
    fs::create_dir(&root)?;
    let (mut file, mebibyte) = (File::create(root.join("file"))?, vec![0x5a; 1 << 20]);
    for at in (0..bytes).step_by(mebibyte.len()) {
        file.write_all(&mebibyte[..mebibyte.len().min((bytes - at) as usize)])?;
    }
    let servers = format!(
        "sendfile on; tcp_nopush on; server {{ listen {address}; location / {{ root {}; }} }}",
        root.display()
    );
    Nginx::spawn(Some(namespace), &servers, address, folder)
}
