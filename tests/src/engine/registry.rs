//! A plain registry (Debian's docker-registry) beside the engines, without tokens, TLS or tunnel: what Docxy is compared
//! with, and what proves that the engines themselves run. Must never stand in for Docker Hub.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::Result;
use serde_json::json;

use super::{Sandbox, Skopeo};
use crate::{net::Namespace, process::Process};

/// A running docker-registry, which pushes and pulls by plain HTTP.
#[derive(Debug)]
pub struct Registry {
    process: Process,
    _sandbox: Sandbox,
    address: SocketAddr,
    skopeo: Skopeo,
}

impl Registry {
    /// Starts an empty one in `namespace` that listens on `ip`, at a port that the kernel picks.
    pub fn start(namespace: &Namespace, ip: IpAddr) -> Result<Self> {
        let sandbox = Sandbox::new(namespace)?;
        let config = json!({
            "version": 0.1,
            "http": { "addr": SocketAddr::new(ip, 0).to_string(), "secret": "one instance, nothing to share" },
            "storage": { "filesystem": { "rootdirectory": "/var/lib/docker-registry" } },
        });
        // YAML takes JSON.
        let config = sandbox.write("registry.yml", &config.to_string())?;
        let mut command = sandbox.command("docker-registry");
        command.arg("serve").arg(config);
        let mut process = Process::spawn("docker-registry", command, sandbox.root())?;
        let address = process.wait_until_listening()?;
        let skopeo = Skopeo::new(namespace, &address.to_string())?;
        Ok(Self { process, _sandbox: sandbox, address, skopeo })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stores the image of an OCI layout, all platforms, as `name` (`library/hello:latest`).
    pub fn push(&self, layout: &Path, name: &str) -> Result<()> {
        self.skopeo.push(layout, &format!("{}/{name}", self.address))
    }

    /// All requests so far, in its own words.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
