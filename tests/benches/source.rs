//! Docker Hub's stand-in as the source of what is pulled, and how each party finds it.
//! Must never run where the one measured could reach it without the tunnel, but on loopback.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use docxy_tests::{
    docxy::{ServerConfig, Upstream},
    hub::Names,
    net::{Namespace, command_in},
    process::{Process, binary, scratch},
};
use serde::Deserialize;
use tempfile::TempDir;

/// Where the bulk lies.
pub(crate) const REPOSITORY: &str = "bench/bulk";

/// A large blob's digest is computed when the stand-in starts.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A running stand-in.
pub(crate) struct Source {
    process: Process,
    folder: TempDir,
    ready: Ready,
}

/// What the stand-in tells about itself.
#[derive(Deserialize)]
struct Ready {
    cdn: SocketAddr,
    resolve: BTreeMap<String, SocketAddr>,
    published: BTreeMap<String, String>,
}

/// Where the stand-in's three hosts listen.
#[derive(Clone, Copy)]
pub(crate) struct Listen {
    pub(crate) registry: SocketAddr,
    pub(crate) auth: SocketAddr,
    pub(crate) cdn: SocketAddr,
}

impl Listen {
    /// All on one address, at ports that the kernel picks.
    pub(crate) fn on(ip: IpAddr) -> Self {
        let address = SocketAddr::new(ip, 0);
        Self { registry: address, auth: address, cdn: address }
    }
}

impl Source {
    /// Starts one that holds what `content` says in the words of the `hub` program.
    pub(crate) fn start(namespace: Option<&Namespace>, listen: Listen, content: &[&str]) -> Result<Self> {
        let folder = scratch()?;
        let path = |file: &str| folder.path().join(file);
        let mut command = command_in(namespace, binary("hub")?);
        command.arg(format!("--listen-registry={}", listen.registry));
        command.arg(format!("--listen-auth={}", listen.auth));
        command.arg(format!("--listen-cdn={}", listen.cdn));
        command.arg("--ca-out").arg(path("ca.pem")).arg("--ready-file").arg(path("ready"));
        // A bench pulls more often than Docker Hub would let it.
        command.args(["--anonymous-pulls", "1000000", "--token-lifetime", "86400"]).args(content);
        let mut process = Process::spawn("hub", command, folder.path())?;
        let ready = path("ready");
        let ready = process.wait_for("be ready", PATIENCE, |_| {
            Ok(if ready.exists() { Some(serde_json::from_slice(&fs::read(&ready)?)?) } else { None })
        })?;
        Ok(Self { process, folder, ready })
    }

    /// The configuration of a server whose Docker Hub it is.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let hub = Upstream { api: self.registry(), ca: self.ca() };
        ServerConfig {
            registries: BTreeMap::from([("docker.io".to_owned(), hub)]),
            resolve: self.ready.resolve.clone(),
            ..ServerConfig::default()
        }
    }

    /// The URL of its registry.
    pub(crate) fn registry(&self) -> String {
        format!("https://{}", Names::default().registry)
    }

    /// Where its host names lead.
    pub(crate) fn resolve(&self) -> &BTreeMap<String, SocketAddr> {
        &self.ready.resolve
    }

    /// Where its CDN listens.
    pub(crate) fn cdn(&self) -> SocketAddr {
        self.ready.cdn
    }

    /// The certificate authority to trust for it.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The digest of what it holds in this repository.
    pub(crate) fn digest(&self, repository: &str) -> Result<&str> {
        let digest = self.ready.published.get(repository);
        digest.map(String::as_str).with_context(|| format!("the stand-in has no {repository}"))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
