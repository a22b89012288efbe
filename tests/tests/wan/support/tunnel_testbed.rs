//! The stand-in, and the real server and client with an emulated link between them.
//! Must never share a link between two tests.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch, Server},
    net::{Lab, command_in},
    process::{run, scratch},
    stand_in::StandIn,
    wan::{Conditions, End, Link, Wan, run_in_namespace},
};
use hub_stand_in::Listen;
use sha2::{Digest as _, Sha256};

use super::body_reader::BodyReader;

const REPOSITORY: &str = "wan/blob";

/// Six times the bandwidth-delay product of the fastest of these links, so that every window opens.
const BLOB_MIB: u64 = 48;

/// Timeout of a pull on a busy machine.
const PULL_TIMEOUT: Duration = Duration::from_secs(300);

const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
pub(crate) const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// The stand-in and the lab. Drop order: the lab last.
pub(crate) struct TunnelTestbed {
    hub: StandIn,
    lab: Lab,
}

impl TunnelTestbed {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let blob = format!("--blob={REPOSITORY}:{BLOB_MIB}MiB");
        let hub = StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &[&blob])?;
        Ok(Self { hub, lab })
    }

    pub(crate) fn link(&self, conditions: Conditions) -> Result<Wan> {
        let (client_end, server_end) = (
            End::new(self.lab.laptop.name(), CLIENT_ADDRESS),
            End::new(self.lab.abroad.name(), SERVER_ADDRESS),
        );
        Ok(Wan::join(&client_end, &server_end, Link::symmetric(conditions), 1)?)
    }

    pub(crate) fn server(&self) -> Result<Server> {
        Server::start(Some(&self.lab.abroad), SERVER_ADDRESS.into(), &self.hub.server_config())
    }

    pub(crate) fn client(&self, link: &str) -> Result<Client> {
        self.client_as(&Launch::default(), link)
    }

    /// The same with these launch settings.
    pub(crate) fn client_as(&self, launch: &Launch, link: &str) -> Result<Client> {
        let mut client = Client::start_as(launch, Some(&self.lab.laptop), link)?;
        client.wait_until_up(PULL_TIMEOUT)?;
        Ok(client)
    }

    /// A UDP socket on the client's machine that never answers.
    pub(crate) fn silent_socket(&self, address: SocketAddr) -> Result<UdpSocket> {
        let socket = run_in_namespace(self.lab.laptop.name(), || UdpSocket::bind(address))??;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Pulls the blob with curl, and verifies it.
    pub(crate) fn pull(&self, client: &Client) -> Result<()> {
        let folder = scratch()?;
        let file = folder.path().join("blob");
        let bearer = format!("Authorization: {}", self.bearer(client)?);
        let digest = self.hub.digest(REPOSITORY)?;
        let url = format!("{}/v2/{REPOSITORY}/blobs/{digest}", client.url());
        self.curl(&["-H", &bearer, "-o", &file.to_string_lossy(), &url])?;
        let found: String =
            Sha256::digest(fs::read(&file)?).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(digest == format!("sha256:{found}"), "{digest} arrived as {found}");
        Ok(())
    }

    /// Begins a pull of the blob, and waits for the head of the response.
    pub(crate) fn begin(&self, client: &Client) -> Result<BodyReader> {
        let (path, bearer) =
            (format!("/v2/{REPOSITORY}/blobs/{}", self.hub.digest(REPOSITORY)?), self.bearer(client)?);
        BodyReader::begin(self.lab.laptop.name(), client.address(), &path, &bearer)
    }

    fn bearer(&self, client: &Client) -> Result<String> {
        let token = self.curl(&[&format!(
            "{}/auth/token?service=registry.docker.io&scope=repository:{REPOSITORY}:pull",
            client.url()
        )])?;
        let token: serde_json::Value = serde_json::from_str(&token)?;
        Ok(format!("Bearer {}", token["token"].as_str().unwrap_or_default()))
    }

    fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut curl: Command = command_in(Some(&self.lab.laptop), "curl");
        curl.args(["--silent", "--show-error", "--fail"]).args(arguments);
        run(curl, PULL_TIMEOUT)?.succeeded()
    }
}
