//! Docker Hub's stand-in as a process of its own, for whoever needs it in another network namespace: started, told
//! what to hold, and steered.
//! Must never know who pulls from it.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    docxy::{ServerConfig, Upstream},
    engine::Pulled,
    hub::{Entry, Image, Listen, Names, Publication, RemoteError, RemoteHub, Rule, Transfer},
    net::{Namespace, command_in},
    process::{Process, binary, scratch},
};

/// A large blob's digest is computed when the stand-in starts.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running stand-in.
pub struct StandIn {
    process: Process,
    folder: TempDir,
    ready: Ready,
}

/// What the stand-in tells about itself.
#[derive(Deserialize)]
struct Ready {
    registry: SocketAddr,
    auth: SocketAddr,
    cdn: SocketAddr,
    resolve: BTreeMap<String, SocketAddr>,
    published: BTreeMap<String, String>,
}

impl Listen {
    /// All on one address, at ports that the kernel picks.
    pub fn on(ip: IpAddr) -> Self {
        let address = SocketAddr::new(ip, 0);
        Self { registry: address, auth: address, cdn: address }
    }
}

impl StandIn {
    /// Starts one that holds what `content` says in the words of the `hub` program.
    pub fn start(namespace: Option<&Namespace>, listen: Listen, content: &[&str]) -> Result<Self> {
        let folder = scratch()?;
        let path = |file: &str| folder.path().join(file);
        let mut command = command_in(namespace, binary("hub")?);
        command.arg(format!("--listen-registry={}", listen.registry));
        command.arg(format!("--listen-auth={}", listen.auth));
        command.arg(format!("--listen-cdn={}", listen.cdn));
        command.arg("--control").arg(path("control"));
        command.arg("--ca-out").arg(path("ca.pem")).arg("--ready-file").arg(path("ready"));
        command.args(content);
        let mut process = Process::spawn("hub", command, folder.path())?;
        let ready = path("ready");
        let ready = process.wait_for("be ready", PATIENCE, |_| {
            Ok(if ready.exists() { Some(serde_json::from_slice(&fs::read(&ready)?)?) } else { None })
        })?;
        Ok(Self { process, folder, ready })
    }

    /// The configuration of a server whose Docker Hub it is: with its CA and without DNS.
    pub fn server_config(&self) -> ServerConfig {
        let hub = Upstream { api: self.registry(), ca: self.ca() };
        ServerConfig {
            registries: BTreeMap::from([("docker.io".to_owned(), hub)]),
            resolve: self.ready.resolve.clone(),
            ..ServerConfig::default()
        }
    }

    /// Adds it to a server's list under this name, which must be the `--host` that it was started with.
    pub fn add_to(&self, config: &mut ServerConfig, name: &str) {
        let api = format!("https://{name}");
        config.registries.insert(name.to_owned(), Upstream { api, ca: self.ca() });
        config.resolve.extend(self.ready.resolve.clone());
    }

    /// The URL of its registry.
    pub fn registry(&self) -> String {
        format!("https://{}", Names::default().registry)
    }

    /// Where its host names lead.
    pub fn resolve(&self) -> &BTreeMap<String, SocketAddr> {
        &self.ready.resolve
    }

    /// Addresses of its three hosts.
    pub fn addresses(&self) -> [SocketAddr; 3] {
        [self.ready.registry, self.ready.auth, self.ready.cdn]
    }

    /// Where its CDN listens.
    pub fn cdn(&self) -> SocketAddr {
        self.ready.cdn
    }

    /// The certificate authority to trust for it.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The digest of what it holds in this repository.
    pub fn digest(&self, repository: &str) -> Result<&str> {
        let digest = self.ready.published.get(repository);
        digest.map(String::as_str).with_context(|| format!("the stand-in has no {repository}"))
    }

    /// `image` as an engine on linux/amd64 must have it, worked out from the image and not from what was served; once
    /// it is sure that the stand-in made the same one as `repository`.
    pub fn wanted(&self, repository: &str, image: &Image) -> Result<Pulled> {
        let published = self.digest(repository)?;
        ensure!(published == image.digest().as_str(), "{repository} is {published}, not {}", image.digest());
        Ok(wanted(image))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All requests so far.
    pub fn journal(&self) -> Result<Vec<Entry>> {
        self.ask(async |hub| hub.journal().await)
    }

    /// Forgets the requests so far.
    pub fn clear_journal(&self) -> Result<()> {
        self.ask(async |hub| hub.clear_journal().await)
    }

    /// Makes an image and puts it into a repository.
    pub fn publish(&self, publication: &Publication) -> Result<()> {
        self.ask(async |hub| hub.publish(publication).await)
    }

    /// Every blob body so far.
    pub fn transfers(&self) -> Result<Vec<Transfer>> {
        self.ask(async |hub| hub.transfers().await)
    }

    /// Arms a fault.
    pub fn arm(&self, rule: &Rule) -> Result<()> {
        self.ask(async |hub| hub.arm(rule).await)
    }

    /// What is still armed.
    pub fn armed(&self) -> Result<Vec<Rule>> {
        self.ask(async |hub| hub.armed().await)
    }

    /// Disarms everything, and lets go of what is held or stalled.
    pub fn calm(&self) -> Result<()> {
        self.ask(async |hub| {
            hub.clear_faults().await?;
            hub.release().await
        })
    }

    /// Makes every token issued so far invalid.
    pub fn revoke_tokens(&self) -> Result<()> {
        self.ask(async |hub| hub.revoke_tokens().await)
    }

    fn ask<T>(&self, ask: impl AsyncFnOnce(&RemoteHub) -> Result<T, RemoteError>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(ask(&RemoteHub::at(self.folder.path().join("control"))))?)
    }
}

/// `image` as an engine on linux/amd64 must have it.
pub fn wanted(image: &Image) -> Pulled {
    let ours = image.platform("amd64").expect("every image has amd64");
    Pulled {
        digest: image.digest().to_string(),
        config: ours.config.digest().to_string(),
        layers: ours.layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
    }
}
