//! Engines on other machines of the client's network.
//! Must never judge the speed.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch},
    engine::PlainEngine,
    net::Lab,
    tunnel_lab::{Abroad, IMAGE, TunnelLab},
    wan::{Conditions, Link, Rate},
};
use serde_json::Value;

#[test]
fn machines_of_allowed_networks_pull_and_others_are_refused() -> Result<()> {
    let lab = TunnelLab::new(1)?;
    let link = Link::symmetric(Conditions::clean(Rate::mbit(100), Duration::from_millis(5)));
    let _wan = lab.link(Abroad::FIRST, link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let link = server.invite("laptop")?;
    // The neighbour is in 10.61.1.0/24.
    let address: SocketAddr = (Lab::LAPTOP, 5080).into();
    let listen = address.to_string();
    let neighbour = PlainEngine::new(&lab.lab.abroad, address);
    let start = |networks: &str| -> Result<Client> {
        let arguments = ["--listen", &listen, "--allow-remote", networks];
        lab.connected_client(&link, &Launch::with(&arguments))
    };

    let mut client = start("192.0.2.0/24,10.61.1.0/24")?;
    neighbour.manifest(IMAGE, &neighbour.log_in(IMAGE)?)?;
    let (status, health) = neighbour.ask("/health")?;
    let health: Value = serde_json::from_str(&health)?;
    ensure!(status == 200 && health.as_object().is_some_and(|health| health.len() == 1), "{health}");
    client.stop()?;
    drop(client);

    let client = start("10.61.2.0/24")?;
    for path in ["/v2/", "/health", "/auth/token?service=registry.docker.io"] {
        let (status, text) = neighbour.ask(path)?;
        ensure!(status == 403 && text.contains("allow_remote"), "{path}: {status} {text}");
    }
    lab.manifest(&client).map(drop)
}
