//! A plain registry (Debian's docker-registry) without tokens, TLS or tunnel. Its tests prove that the engines
//! themselves work.
//! Must never stand in for Docker Hub.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::Result;
use serde_json::json;

use super::{Sandbox, Skopeo};
use crate::{net::Namespace, process::Process};

/// A running docker-registry; pushes and pulls use plain HTTP.
#[derive(Debug)]
pub struct Registry {
    process: Process,
    _sandbox: Sandbox,
    address: SocketAddr,
    skopeo: Skopeo,
}

impl Registry {
    /// Starts an empty registry in `namespace` that listens on `ip`, at a port that the kernel picks.
    pub fn start(namespace: &Namespace, ip: IpAddr) -> Result<Self> {
        let sandbox = Sandbox::new(namespace)?;
        let config = json!({
            "version": 0.1,
            "http": { "addr": SocketAddr::new(ip, 0).to_string(), "secret": "one instance, nothing to share" },
            "storage": { "filesystem": { "rootdirectory": "/var/lib/docker-registry" } },
        });
        // YAML is a superset of JSON.
        let config = sandbox.write("registry.yml", &config.to_string())?;
        let mut command = sandbox.command("docker-registry");
        command.arg("serve").arg(config);
        let mut process = Process::spawn("docker-registry", command, sandbox.root())?;
        let address = process.wait_until_listening()?;
        let skopeo = Skopeo::new(namespace, &address.to_string())?;
        Ok(Self { process, _sandbox: sandbox, address, skopeo })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes the image of an OCI layout with all platforms as `name` (`library/hello:latest`).
    pub fn push(&self, layout: &Path, name: &str) -> Result<()> {
        self.skopeo.push(layout, &format!("{}/{name}", self.address))
    }

    /// Its log, with all requests.
    pub fn log(&self) -> String {
        self.process.output()
    }
}
