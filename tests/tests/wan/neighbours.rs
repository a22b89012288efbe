//! Engines and clients on other machines of the client's network.
//! Must never judge the speed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch},
    engine::PlainEngine,
    net::Lab,
    process::{PROCESS_TIMEOUT, scratch},
    tunnel_lab::{Abroad, IMAGE, TunnelLab},
    wan::{Conditions, Link, Rate},
};
use hub_stand_in::{ImageSpec, PublishRequest};
use serde_json::Value;

/// An image with one layer, which no manifest brings along.
const IMAGE_WITH_LAYER: &str = "wan/layer";
const LAYER_BYTES: u64 = 5 << 20;

#[test]
fn machines_of_allowed_networks_pull_and_others_are_refused() -> Result<()> {
    let lab = TunnelLab::new(1)?;
    let (repository, tag) = (IMAGE_WITH_LAYER.to_owned(), "latest".to_owned());
    let image = ImageSpec { seed: 1, layers: 1, len: LAYER_BYTES };
    lab.hub.publish(&PublishRequest { repository, tag, image })?;
    let link = Link::symmetric(Conditions::clean(Rate::mbit(100), Duration::from_millis(5)));
    let _wan = lab.link(Abroad::FIRST, link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let link = server.invite("laptop")?;
    // Clients that share find each other by multicast. The neighbour is in 10.61.1.0/24.
    const SHARING: [&str; 3] = ["--cache-size", "1 GB", "--share=0"];
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

    for path in ["/", "/metrics", "/api/status"] {
        let (status, text) = neighbour.ask(path)?;
        ensure!(status == 403, "{path}: {status} {text}");
    }
    pull(&client)?;
    ensure!(client.count("transfers/bytes_crossed")? > LAYER_BYTES);
    let link = server.invite("second")?;
    let began = Instant::now();
    // A neighbour has 100 ms to answer, which may not be enough on a busy machine.
    let mut second = loop {
        let mut second = Client::start_as(&Launch::with(&SHARING), Some(&lab.lab.abroad), &link)?;
        second.wait_until_up(PROCESS_TIMEOUT)?;
        let has_found = |health: &Value| health["neighbours"]["known"] == 1;
        second.wait_for_health("find the other", PROCESS_TIMEOUT, has_found)?;
        pull(&second)?;
        // The manifests cross.
        if second.count("transfers/bytes_crossed")? < LAYER_BYTES / 100 {
            break second;
        }
        ensure!(began.elapsed() < PROCESS_TIMEOUT, "{:#}", second.health()?);
        second.stop()?;
    };
    let has_found = |health: &Value| health["neighbours"]["known"].as_u64() >= Some(1);
    client.wait_for_health("find the other", PROCESS_TIMEOUT, has_found)?;
    client.stop()?;
    drop(client);
    let has_lost = |health: &Value| health["neighbours"]["known"] == 0;
    second.wait_for_health("forget the other", PROCESS_TIMEOUT, has_lost)?;

    let client = start("10.61.2.0/24")?;
    for path in ["/v2/", "/health", "/auth/token?service=registry.docker.io"] {
        let (status, text) = neighbour.ask(path)?;
        ensure!(status == 403 && text.contains("allow_remote"), "{path}: {status} {text}");
    }
    lab.manifest(&client).map(drop)
}

/// `docxy-client pull` through a running client.
fn pull(client: &Client) -> Result<()> {
    let folder = scratch()?;
    let output = folder.path().join("image.tar");
    let output = output.to_str().context("a path in UTF-8")?;
    client.command(&["pull", IMAGE_WITH_LAYER, "--output", output], PROCESS_TIMEOUT).map(drop)
}
