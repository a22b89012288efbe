//! The engines and the lab without Docxy: each engine pulls from a mirror registry as its mirror.
//! If one of these tests fails, the harness or the machine is at fault, and the other tests prove nothing.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::Result;
use docxy_tests::{
    engine::{Containerd, Dockerd, Engine, Podman, PulledImage, Registry, Skopeo},
    net::Lab,
    process::run,
    stand_in::expected,
};
use hub_stand_in::Image;

use crate::support::oci_layout::write_layout;

/// A registry on the laptop with a small multi-arch image.
struct PlainMirror {
    // Drop order: the registry before its lab.
    registry: Registry,
    lab: Lab,
    hello: PulledImage,
}

impl PlainMirror {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let registry = Registry::start(&lab.laptop, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let hello = Image::hello()?;
        let layout = tempfile::tempdir()?;
        write_layout(&hello, layout.path())?;
        registry.push(layout.path(), "library/hello:latest")?;
        Ok(Self { registry, lab, hello: expected(&hello) })
    }

    fn address(&self) -> String {
        self.registry.address().to_string()
    }
}

#[test]
fn dockerd_pulls_from_a_plain_mirror() -> Result<()> {
    let mirror = PlainMirror::new()?;
    let docker = Dockerd::start(&mirror.lab.laptop, &format!("http://{}", mirror.address()))?;
    assert_eq!(docker.pull("hello")?, mirror.hello);
    docker.remove("hello")?;
    let refusal = docker.pull_refused("nosuch")?;
    // It falls back to the origin and finds no network, as for users behind a firewall.
    assert!(refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn containerd_pulls_from_a_plain_mirror() -> Result<()> {
    let mirror = PlainMirror::new()?;
    let containerd = Containerd::start(&mirror.lab.laptop, &format!("http://{}", mirror.address()))?;
    assert_eq!(containerd.pull("docker.io/library/hello:latest", None)?, mirror.hello);
    let refusal = containerd.pull_refused("docker.io/library/nosuch:latest", None)?;
    assert!(refusal.contains("not found") || refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn podman_pulls_from_a_plain_mirror() -> Result<()> {
    let mirror = PlainMirror::new()?;
    let podman = Podman::new(&mirror.lab.laptop, &mirror.address())?;
    assert_eq!(podman.pull("docker.io/library/hello:latest", None)?, mirror.hello);
    let refusal = podman.pull_refused("docker.io/library/nosuch:latest", None)?;
    assert!(refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn skopeo_copies_from_a_plain_mirror() -> Result<()> {
    let mirror = PlainMirror::new()?;
    let skopeo = Skopeo::new(&mirror.lab.laptop, &mirror.address())?;
    assert_eq!(skopeo.pull("docker.io/library/hello:latest", None)?, mirror.hello);
    let refusal = skopeo.pull_refused("docker.io/library/nosuch:latest", None)?;
    assert!(refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn the_laptop_reaches_abroad_and_nothing_beyond() -> Result<()> {
    let lab = Lab::new()?;
    let hub = Registry::start(&lab.hub, Lab::HUB)?;
    let abroad = Registry::start(&lab.abroad, Lab::ABROAD)?;
    assert_eq!(lab.laptop.connect_error(abroad.address())?, None);
    assert_eq!(lab.abroad.connect_error(hub.address())?, None);
    let refusal = lab.laptop.connect_error(hub.address())?.unwrap_or_default();
    assert!(refusal.contains("Network is unreachable"), "{refusal:?}");

    // Even with routes at both ends, the middle namespace forwards nothing.
    for (namespace, gateway) in [(&lab.laptop, Lab::ABROAD), (&lab.hub, Lab::ABROAD_TO_HUB)] {
        let mut route = namespace.command("ip");
        route.args(["route", "add", "default", "via", &gateway.to_string()]);
        run(route, Duration::from_secs(5))?.succeeded()?;
    }
    assert_eq!(lab.laptop.connect_error(hub.address())?.as_deref(), Some("no answer"));
    Ok(())
}
