//! Runs the Docker Hub stand-in as a process of its own, in any network namespace, and controls it by its socket.
//! Must never know who pulls from it.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use hub_stand_in::{
    Image, Listen, LoggedRequest, Names, PublishRequest, RemoteError, RemoteHub, Rule, Transfer,
};

use crate::{
    docxy::{ServerConfig, Upstream},
    engine::PulledImage,
    net::{Namespace, command_in},
    process::{Process, binary, scratch},
};

/// The stand-in computes the digests of large blobs when it starts.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running stand-in process.
pub struct StandIn {
    process: Process,
    folder: TempDir,
    ready: Ready,
}

/// The content of the stand-in's ready file.
#[derive(Deserialize)]
struct Ready {
    registry: SocketAddr,
    auth: SocketAddr,
    cdn: SocketAddr,
    resolve: BTreeMap<String, SocketAddr>,
    published: BTreeMap<String, String>,
}

impl StandIn {
    /// Starts a stand-in; `content` are further command-line arguments of the `hub` program.
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
        let ready = process.wait_for("be ready", START_TIMEOUT, |_| {
            Ok(if ready.exists() { Some(serde_json::from_slice(&fs::read(&ready)?)?) } else { None })
        })?;
        Ok(Self { process, folder, ready })
    }

    /// The config of a server for which this stand-in is Docker Hub: with its CA, without DNS.
    pub fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::default();
        self.list(&mut config, "docker.io", self.registry());
        config
    }

    /// Adds it to a server's list under this name, which must be the `--host` that it was started with.
    pub fn add_to(&self, config: &mut ServerConfig, name: &str) {
        self.list(config, name, format!("https://{name}"));
    }

    fn list(&self, config: &mut ServerConfig, name: &str, api: String) {
        let upstream = Upstream { api, ca: self.ca(), resolve: self.ready.resolve.clone(), account: None };
        config.registries.insert(name.to_owned(), upstream);
    }

    /// The URL of the registry API.
    pub fn registry(&self) -> String {
        format!("https://{}", Names::default().registry)
    }

    /// The stand-in's host names with their addresses.
    pub fn resolve(&self) -> &BTreeMap<String, SocketAddr> {
        &self.ready.resolve
    }

    /// The addresses of its three hosts.
    pub fn addresses(&self) -> [SocketAddr; 3] {
        [self.ready.registry, self.ready.auth, self.ready.cdn]
    }

    /// The address of its CDN.
    pub fn cdn(&self) -> SocketAddr {
        self.ready.cdn
    }

    /// The file of the CA certificate that its clients must trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The digest of the image or blob that it published in this repository.
    pub fn digest(&self, repository: &str) -> Result<&str> {
        let digest = self.ready.published.get(repository);
        digest.map(String::as_str).with_context(|| format!("the stand-in has no {repository}"))
    }

    /// The image that an engine on linux/amd64 must have after a pull of `repository`. It is computed from `image`,
    /// not from the stand-in's responses. Fails unless the stand-in published the same image.
    pub fn expected(&self, repository: &str, image: &Image) -> Result<PulledImage> {
        let published = self.digest(repository)?;
        ensure!(published == image.digest().as_str(), "{repository} is {published}, not {}", image.digest());
        Ok(expected(image))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All requests so far.
    pub fn request_log(&self) -> Result<Vec<LoggedRequest>> {
        self.control(async |hub| hub.request_log().await)
    }

    /// Deletes the logged requests.
    pub fn clear_request_log(&self) -> Result<()> {
        self.control(async |hub| hub.clear_request_log().await)
    }

    /// Builds an image and publishes it in a repository.
    pub fn publish(&self, request: &PublishRequest) -> Result<()> {
        self.control(async |hub| hub.publish(request).await)
    }

    /// All transfers of blob bodies so far.
    pub fn transfers(&self) -> Result<Vec<Transfer>> {
        self.control(async |hub| hub.transfers().await)
    }

    /// Arms a fault.
    pub fn arm(&self, rule: &Rule) -> Result<()> {
        self.control(async |hub| hub.arm(rule).await)
    }

    /// The rules that are still armed.
    pub fn armed(&self) -> Result<Vec<Rule>> {
        self.control(async |hub| hub.armed().await)
    }

    /// Disarms all faults, and releases every held or stalled response.
    pub fn reset_faults(&self) -> Result<()> {
        self.control(async |hub| {
            hub.clear_faults().await?;
            hub.release().await
        })
    }

    fn control<T>(&self, action: impl AsyncFnOnce(&RemoteHub) -> Result<T, RemoteError>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(action(&RemoteHub::at(self.folder.path().join("control"))))?)
    }
}

/// The image that an engine on linux/amd64 must have after a pull of `image`.
pub fn expected(image: &Image) -> PulledImage {
    let platform = image.platform("amd64").expect("every image has amd64");
    PulledImage {
        digest: image.digest().to_string(),
        config: platform.config.digest().to_string(),
        layers: platform.layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
    }
}
