//! Creates three network namespaces, connects them by veth pairs, and deletes them.
//! Must never leave a namespace behind: a lab deletes its own on drop, and the next lab deletes those of killed
//! tests.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, Result, ensure};

use super::{
    Namespace,
    namespace::{ip, names},
};
use crate::{
    process::{PROCESS_TIMEOUT, is_abandoned, run, unique_name},
    wan::Rate,
};

/// Three namespaces in a row. Every lab has the same addresses, as its links are isolated.
#[derive(Debug)]
pub struct Lab {
    /// The engines and `docxy-client` run here.
    pub laptop: Namespace,
    /// `docxy-server` runs here.
    pub abroad: Namespace,
    /// Docker Hub's stand-in runs here.
    pub hub: Namespace,
}

impl Lab {
    /// The laptop's address.
    pub const LAPTOP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 61, 1, 2));
    /// The address of abroad on the link to the laptop. The laptop reaches no other host.
    pub const ABROAD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 61, 1, 1));
    /// The address of abroad on the link to the hub.
    pub const ABROAD_TO_HUB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 61, 2, 1));
    /// The hub's address.
    pub const HUB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 61, 2, 2));

    /// Creates a lab. Needs root and iproute2.
    pub fn new() -> Result<Self> {
        ensure!(is_root()?, "this test makes network namespaces and mounts: run it as root, or skip it");
        delete_abandoned();
        let name = unique_name();
        let lab = Self {
            laptop: Namespace::new(format!("{name}-laptop")),
            abroad: Namespace::new(format!("{name}-abroad")),
            hub: Namespace::new(format!("{name}-hub")),
        };
        for namespace in [&lab.laptop, &lab.abroad, &lab.hub] {
            namespace.create()?;
        }
        // There are no routes but those of the links: an address that is no neighbour's is unreachable at once,
        // without a timeout.
        connect((&lab.laptop, Self::LAPTOP), (&lab.abroad, Self::ABROAD))?;
        connect((&lab.abroad, Self::ABROAD_TO_HUB), (&lab.hub, Self::HUB))?;
        Ok(lab)
    }

    /// Limits the link between laptop and abroad to this rate in each direction. The kernel does it, which can do gigabits.
    pub fn limit_laptop(&self, rate: Rate) -> Result<()> {
        for (near, far) in [(&self.laptop, &self.abroad), (&self.abroad, &self.laptop)] {
            let (device, rate) = (device_to(far), format!("{}bit", rate.bits_per_second()));
            let mut command = near.command("tc");
            command.args(["qdisc", "add", "dev", &device, "root", "tbf"]);
            command.args(["rate", &rate, "burst", "256kb", "limit", "1mb"]);
            run(command, PROCESS_TIMEOUT)?.succeeded()?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.laptop, &self.abroad, &self.hub] {
            namespace.delete();
        }
    }
}

fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    Ok(effective.context("no Uid in /proc/self/status")? == "0")
}

/// Deletes the namespaces of test programs that were killed, with the processes in them.
fn delete_abandoned() {
    for name in names().into_iter().filter(|name| is_abandoned(name)) {
        Namespace::new(name).delete();
    }
}

/// Creates a veth pair between two namespaces. It is created inside them, so the machine's own namespace never has
/// it. Each end is named after the role of the other.
fn connect(a: (&Namespace, IpAddr), b: (&Namespace, IpAddr)) -> Result<()> {
    let (to_a, to_b) = (device_to(a.0), device_to(b.0));
    ip(&[
        "link",
        "add",
        &to_b,
        "netns",
        a.0.name(),
        "type",
        "veth",
        "peer",
        "name",
        &to_a,
        "netns",
        b.0.name(),
    ])?;
    for (namespace, device, address) in [(a.0, to_b, a.1), (b.0, to_a, b.1)] {
        ip(&["-n", namespace.name(), "addr", "add", &format!("{address}/24"), "dev", &device])?;
        ip(&["-n", namespace.name(), "link", "set", &device, "up"])?;
    }
    Ok(())
}

fn device_to(namespace: &Namespace) -> String {
    let role = namespace.name().rsplit('-').next().unwrap_or_default();
    format!("to-{role}")
}
