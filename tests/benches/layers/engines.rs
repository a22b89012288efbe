//! A pull by a real engine, whose client is killed when 60 % of the layer are stored, and the pull after it.

use anyhow::{Context as _, Result};
use docxy_tests::{
    docxy::{Client, Server},
    net::Lab,
    process::{PROCESS_TIMEOUT, Process, run, scratch},
};
use hub_stand_in::{Fault, Image, ImageSpec, Listen, PublishRequest, Rule};

use super::KEEPING;
use crate::{
    bulk_source,
    trips::engine::{Engine, EngineKind},
};

const REPOSITORY: &str = "library/kept";
const IMAGE: &str = "docker.io/library/kept:latest";
const SPEC: ImageSpec = ImageSpec { seed: 60, layers: 1, len: 40 << 20 };

/// What crosses after the kill, as a share of the layer.
pub(super) fn killed(kind: EngineKind) -> Result<f64> {
    let lab = Lab::new()?;
    let hub = bulk_source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[])?;
    let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &hub.server_config())?;
    let image = Image::from_spec(SPEC)?;
    let layer = &image.platform("amd64").context("amd64")?.layers[0].blob;
    let (repository, tag) = (REPOSITORY.to_owned(), "latest".to_owned());
    hub.publish(&PublishRequest { repository, tag, image: SPEC })?;
    let arrives = layer.len() * 6 / 10;
    hub.arm(&Rule::once(Fault::StallAt { byte: arrives }).on(layer.digest().hex()))?;
    let mut client = Client::start_with(Some(&lab.laptop), &server.invite("bench")?, &[KEEPING])?;
    client.wait_until_up(PROCESS_TIMEOUT)?;
    let engine = Engine::start(kind, &lab.laptop, &client)?;
    let log = scratch()?;
    let mut pull = Process::spawn("pull", engine.pull(IMAGE), log.path())?;
    // Chunks of 256 KiB are stored.
    let is_stored = |health: &serde_json::Value| {
        health["cache"]["bytes"].as_u64().is_some_and(|bytes| bytes >= arrives - (512 << 10))
    };
    client.wait_for_health("store 60 % of the layer", PROCESS_TIMEOUT, is_stored)?;
    client.process().kill()?;
    pull.kill()?;
    hub.reset_faults()?;
    client.start_again_with(&[KEEPING])?;
    client.wait_until_up(PROCESS_TIMEOUT)?;
    run(engine.pull(IMAGE), PROCESS_TIMEOUT)?.succeeded()?;
    Ok(client.count("transfers/bytes_crossed")? as f64 / layer.len() as f64)
}
