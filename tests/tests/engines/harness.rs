//! The engines and the lab themselves, without Docxy: each engine pulls from a plain registry as its mirror.
//! When one of these fails, the harness or the machine is at fault, and no other test here means anything.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::Result;
use docxy_tests::{
    engine::{Containerd, Dockerd, Engine, Podman, PulledImage, Registry, Skopeo},
    hub::Image,
    net::Lab,
    process::run,
    stand_in::expected,
};

use crate::oci_layout::write_layout;

/// A registry on the laptop itself that holds a small multi-arch image.
struct Plain {
    // Dropped in this order: what runs in the lab before the lab.
    registry: Registry,
    lab: Lab,
    hello: PulledImage,
}

impl Plain {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let registry = Registry::start(&lab.laptop, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let hello = Image::hello()?;
        let layout = tempfile::tempdir()?;
        write_layout(&hello, layout.path())?;
        registry.push(layout.path(), "library/hello:latest")?;
        Ok(Self { registry, lab, hello: expected(&hello) })
    }

    fn mirror(&self) -> String {
        self.registry.address().to_string()
    }
}

#[test]
fn dockerd_pulls_from_a_plain_mirror() -> Result<()> {
    let plain = Plain::new()?;
    let docker = Dockerd::start(&plain.lab.laptop, &format!("http://{}", plain.mirror()))?;
    assert_eq!(docker.pull("hello")?, plain.hello);
    docker.remove("hello")?;
    let refusal = docker.pull_refused("nosuch")?;
    // It falls back to the origin, and finds no network: what users of a blocked network see.
    assert!(refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn containerd_pulls_from_a_plain_mirror() -> Result<()> {
    let plain = Plain::new()?;
    let containerd = Containerd::start(&plain.lab.laptop, &format!("http://{}", plain.mirror()))?;
    assert_eq!(containerd.pull("docker.io/library/hello:latest", None)?, plain.hello);
    let refusal = containerd.pull_refused("docker.io/library/nosuch:latest", None)?;
    assert!(refusal.contains("not found") || refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn podman_pulls_from_a_plain_mirror() -> Result<()> {
    let plain = Plain::new()?;
    let podman = Podman::new(&plain.lab.laptop, &plain.mirror())?;
    assert_eq!(podman.pull("docker.io/library/hello:latest", None)?, plain.hello);
    let refusal = podman.pull_refused("docker.io/library/nosuch:latest", None)?;
    assert!(refusal.contains("registry-1.docker.io"), "{refusal}");
    Ok(())
}

#[test]
fn skopeo_copies_from_a_plain_mirror() -> Result<()> {
    let plain = Plain::new()?;
    let skopeo = Skopeo::new(&plain.lab.laptop, &plain.mirror())?;
    assert_eq!(skopeo.pull("docker.io/library/hello:latest", None)?, plain.hello);
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

    // Even where both ends know the way, the one in the middle does not pass it on.
    for (namespace, gateway) in [(&lab.laptop, Lab::ABROAD), (&lab.hub, Lab::ABROAD_TO_HUB)] {
        let mut route = namespace.command("ip");
        route.args(["route", "add", "default", "via", &gateway.to_string()]);
        run(route, Duration::from_secs(5))?.succeeded()?;
    }
    assert_eq!(lab.laptop.connect_error(hub.address())?.as_deref(), Some("no answer"));
    Ok(())
}
