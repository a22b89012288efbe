//! Engines and clients on other machines of the client's network.
//! Must never judge the speed.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch},
    engine::PlainEngine,
    net::Lab,
    process::{PROCESS_TIMEOUT, scratch},
    tunnel_lab::{Abroad, IMAGE, LAYERS, TunnelLab},
    wan::{Conditions, Link, Rate},
};
use serde_json::Value;

/// Less than the layers of the image [`LAYERS`].
const LAYERS_BYTES: u64 = 5_000_000;

/// `docxy-client pull` through a running client.
fn pull(client: &Client) -> Result<()> {
    let folder = scratch()?;
    let output = folder.path().join("image.tar");
    let output = output.to_str().context("a path in UTF-8")?;
    client.command(&["pull", LAYERS, "--output", output], PROCESS_TIMEOUT).map(drop)
}

#[test]
fn machines_of_allowed_networks_pull_and_others_are_refused() -> Result<()> {
    let lab = TunnelLab::new(1)?;
    let link = Link::symmetric(Conditions::clean(Rate::mbit(100), Duration::from_millis(5)));
    let _wan = lab.link(Abroad::FIRST, link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let link = server.invite("laptop")?;
    // The neighbour is in 10.61.1.0/24.
    // It has a client of its own, which shares, as that of the laptop does. They find each other by multicast.
    const SHARING: [&str; 3] = ["--cache-size", "1 GB", "--share=5082"];
    let address: SocketAddr = (Lab::LAPTOP, 5080).into();
    let listen = address.to_string();
    let neighbour = PlainEngine::new(&lab.lab.abroad, address);
    let start = |networks: &str| -> Result<Client> {
        let arguments = [&["--listen", &listen, "--allow-remote", networks][..], &SHARING].concat();
        lab.connected_client(&link, &Launch::with(&arguments))
    };

    let mut client = start("192.0.2.0/24,10.61.1.0/24")?;
    neighbour.manifest(IMAGE, &neighbour.log_in(IMAGE)?)?;
    let (status, health) = neighbour.ask("/health")?;
    let health: Value = serde_json::from_str(&health)?;
    ensure!(status == 200 && health.as_object().is_some_and(|health| health.len() == 1), "{health}");

    let second = server.invite("second")?;
    let mut second = Client::start_as(&Launch::with(&SHARING), Some(&lab.lab.abroad), &second)?;
    second.wait_until_up(PROCESS_TIMEOUT)?;
    pull(&client)?;
    ensure!(client.count("transfers/bytes_crossed")? > LAYERS_BYTES);
    for client in [&mut client, &mut second] {
        let is_known = |health: &Value| health["neighbours"]["known"] == 1;
        client.wait_for_health("find the other", PROCESS_TIMEOUT, is_known)?;
    }
    pull(&second)?;
    let (crossed, brought) =
        (second.count("transfers/bytes_crossed")?, second.count("transfers/bytes_from_neighbours")?);
    ensure!(crossed < 100_000 && brought > LAYERS_BYTES, "{crossed} bytes crossed, {brought} did not");
    client.stop()?;
    drop(client);
    let is_gone = |health: &Value| health["neighbours"]["known"] == 0;
    second.wait_for_health("forget the other", PROCESS_TIMEOUT, is_gone)?;

    let client = start("10.61.2.0/24")?;
    for path in ["/v2/", "/health", "/auth/token?service=registry.docker.io"] {
        let (status, text) = neighbour.ask(path)?;
        ensure!(status == 403 && text.contains("allow_remote"), "{path}: {status} {text}");
    }
    lab.manifest(&client).map(drop)
}
