//! A layer that had arrived in part when the client was killed: a real engine's next pull fetches the rest only.

use anyhow::{Context, Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch},
    engine::{Dockerd, Engine as _, Podman, PulledImage},
    net::Namespace,
    process::{PROCESS_TIMEOUT, Process, scratch},
    stand_in::expected,
};
use hub_stand_in::{Fault, Image, ImageSpec, PublishRequest, Rule};
use std::process::Command;

use crate::support::testbed::with_testbed;

const KEEPING: [&str; 2] = ["--cache-size", "1 GB"];

const IMAGE: &str = "docker.io/library/kept:latest";

const SPEC: ImageSpec = ImageSpec { seed: 60, layers: 1, len: 40 << 20 };

/// An engine that pulls [`IMAGE`]: the command, which fails, and a pull after it.
trait Pulls: Sized {
    fn start(namespace: &Namespace, client: &Client) -> Result<Self>;
    fn command(&self) -> Command;
    fn pull_again(&self) -> Result<PulledImage>;
}

impl Pulls for Dockerd {
    fn start(namespace: &Namespace, client: &Client) -> Result<Self> {
        Self::start(namespace, &client.url())
    }

    fn command(&self) -> Command {
        self.docker(&["pull", IMAGE])
    }

    fn pull_again(&self) -> Result<PulledImage> {
        self.pull(IMAGE)
    }
}

impl Pulls for Podman {
    fn start(namespace: &Namespace, client: &Client) -> Result<Self> {
        Self::new(namespace, &client.address().to_string())
    }

    fn command(&self) -> Command {
        self.podman(&["pull", IMAGE])
    }

    fn pull_again(&self) -> Result<PulledImage> {
        self.pull(IMAGE, None)
    }
}

fn killed_at_60_percent<E: Pulls>() {
    with_testbed(|testbed| {
        let image = Image::from_spec(SPEC)?;
        let layer = &image.platform("amd64").context("amd64")?.layers[0].blob;
        testbed.hub.publish(&PublishRequest {
            repository: "library/kept".into(),
            tag: "latest".into(),
            image: SPEC,
        })?;
        let arrives = layer.len() * 6 / 10;
        testbed.hub.arm(&Rule::once(Fault::StallAt { byte: arrives }).on(layer.digest().hex()))?;
        let link = testbed.server.invite("keeper")?;
        let mut client = Client::start_as(&Launch::with(&KEEPING), Some(&testbed.lab.laptop), &link)?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        let engine = E::start(&testbed.lab.laptop, &client)?;

        let log = scratch()?;
        let mut pull = Process::spawn("pull", engine.command(), log.path())?;
        // Chunks of 256 KiB are stored.
        let is_stored = |health: &serde_json::Value| {
            health["cache"]["bytes"].as_u64().is_some_and(|bytes| bytes >= arrives - (512 << 10))
        };
        client.wait_for_health("store 60 % of the layer", PROCESS_TIMEOUT, is_stored)?;
        client.process().kill()?;
        pull.kill()?;
        testbed.hub.reset_faults()?;
        client.start_again_with(&KEEPING)?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        ensure!(engine.pull_again()? == expected(&image), "another image");
        let again = client.count("transfers/bytes_crossed")?;
        println!("{again} bytes crossed again of a layer of {}", layer.len());
        ensure!(again <= layer.len() * 41 / 100, "{again} of {} bytes", layer.len());
        Ok(())
    });
}

#[test]
fn docker_fetches_the_rest() {
    killed_at_60_percent::<Dockerd>();
}

#[test]
fn podman_fetches_the_rest() {
    killed_at_60_percent::<Podman>();
}
