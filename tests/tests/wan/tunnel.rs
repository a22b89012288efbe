//! The real client and server over an emulated link.
//! Must never judge the speed: `scripts/bench wan` does.

use std::{fs, net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Client, Server},
    net::{Lab, command_in},
    process::{run, scratch},
    stand_in::StandIn,
    wan::{Conditions, End, Link, Loss, Queue, Rate, Wan},
};
use hub_stand_in::Listen;
use sha2::{Digest as _, Sha256};

const REPOSITORY: &str = "wan/blob";

/// Six times the bandwidth-delay product of the fastest of these links, so that every window opens.
const BLOB_MIB: u64 = 48;

/// Timeout of a pull on a busy machine.
const PULL_TIMEOUT: Duration = Duration::from_secs(300);

const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// The stand-in and the lab. Drop order: the lab last.
struct TunnelTestbed {
    hub: StandIn,
    lab: Lab,
}

impl TunnelTestbed {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let blob = format!("--blob={REPOSITORY}:{BLOB_MIB}MiB");
        let hub = StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &[&blob])?;
        Ok(Self { hub, lab })
    }

    fn link(&self, conditions: Conditions) -> Result<Wan> {
        let (client_end, server_end) = (
            End::new(self.lab.laptop.name(), CLIENT_ADDRESS),
            End::new(self.lab.abroad.name(), SERVER_ADDRESS),
        );
        Ok(Wan::join(&client_end, &server_end, Link::symmetric(conditions), 1)?)
    }

    fn server(&self) -> Result<Server> {
        Server::start(Some(&self.lab.abroad), SERVER_ADDRESS.into(), &self.hub.server_config())
    }

    fn client(&self, link: &str) -> Result<Client> {
        let mut client = Client::start(Some(&self.lab.laptop), link)?;
        client.wait_until_up(PULL_TIMEOUT)?;
        Ok(client)
    }

    /// Pulls the blob with curl, and verifies it.
    fn pull(&self, client: &Client) -> Result<()> {
        let folder = scratch()?;
        let file = folder.path().join("blob");
        let token = self.curl(&[&format!(
            "{}/auth/token?service=registry.docker.io&scope=repository:{REPOSITORY}:pull",
            client.url()
        )])?;
        let token: serde_json::Value = serde_json::from_str(&token)?;
        let bearer = format!("Authorization: Bearer {}", token["token"].as_str().unwrap_or_default());
        let digest = self.hub.digest(REPOSITORY)?;
        let url = format!("{}/v2/{REPOSITORY}/blobs/{digest}", client.url());
        self.curl(&["-H", &bearer, "-o", &file.to_string_lossy(), &url])?;
        let found: String =
            Sha256::digest(fs::read(&file)?).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(digest == format!("sha256:{found}"), "{digest} arrived as {found}");
        Ok(())
    }

    fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut curl: Command = command_in(Some(&self.lab.laptop), "curl");
        curl.args(["--silent", "--show-error", "--fail"]).args(arguments);
        run(curl, PULL_TIMEOUT)?.succeeded()
    }
}

/// quinn with default settings closes the connection when a stream with a large window has 1024 gaps: at this rate
/// and loss with any congestion control, and without loss if the start of a transfer overruns the queue.
#[test]
fn gaps_in_the_data_never_close_the_connection() -> Result<()> {
    let fat = Conditions::clean(Rate::mbit(300), Duration::from_millis(100));
    let shallow = Conditions { queue: Queue::Bytes(64 * 1024), ..fat };
    let testbed = TunnelTestbed::new()?;
    for conditions in [
        Conditions { loss: Loss::Random { share: 0.05 }, ..fat },
        shallow,
        Conditions { loss: Loss::Random { share: 0.10 }, ..fat },
    ] {
        let _wan = testbed.link(conditions)?;
        let server = testbed.server()?;
        let client = testbed.client(&server.invite("laptop")?)?;
        testbed.pull(&client)?;
        ensure!(client.count("tunnel/connects")? == 1 && client.count("tunnel/disconnects")? == 0);
    }
    Ok(())
}

#[test]
fn a_second_connection_starts_at_the_rate_of_the_first() -> Result<()> {
    let testbed = TunnelTestbed::new()?;
    let _wan = testbed.link(Conditions::clean(Rate::mbit(100), Duration::from_millis(25)))?;
    let mut server = testbed.server()?;
    let link = server.invite("laptop")?;
    let first = testbed.client(&link)?;
    testbed.pull(&first)?;
    ensure!(server.status()?["known_paths"]["recalls"] == 0);
    drop(first);
    let second = testbed.client(&link)?;
    let status = server.status()?;
    // It is about 93 Mbit/s. It must be the link's rate, not a default.
    let rate = status["known_paths"]["last_bits_per_second"].as_u64();
    ensure!(rate.is_some_and(|rate| (50_000_000..110_000_000).contains(&rate)), "{status:#}");
    testbed.pull(&second)
}
