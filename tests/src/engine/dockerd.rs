//! dockerd (Debian's docker.io, 20.10, or a newer one in its place) with `registry-mirrors`, and its command line.
//! Must never publish ports, create bridges or write firewall rules: it only pulls.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    Account, COMMAND_TIMEOUT, DirectAccess, PULL_TIMEOUT, PulledImage, Sandbox,
    image::{text, texts},
};
use crate::{
    net::Namespace,
    process::{PROCESS_TIMEOUT, Process, run},
};

/// A running dockerd.
#[derive(Debug)]
pub struct Dockerd {
    // Before the sandbox, whose folders it uses until it has ended.
    process: Process,
    sandbox: Sandbox,
    store: DockerStore,
}

/// Where a dockerd keeps its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerStore {
    /// In its own store, with a graph driver.
    Classic,
    /// In containerd's, which dockerd knows since version 23.
    Containerd,
}

impl Dockerd {
    /// Starts dockerd in `namespace`, with `mirror` (`http://127.0.0.1:PORT`) as the mirror of docker.io.
    pub fn start(namespace: &Namespace, mirror: &str) -> Result<Self> {
        Self::start_in(Sandbox::new(namespace)?, "daemon.json", &[mirror], DockerStore::Classic)
    }

    /// Starts dockerd without a mirror, with its config file at the default place, for `docxy-client setup`.
    pub fn unconfigured(namespace: &Namespace, store: DockerStore) -> Result<Self> {
        Self::start_in(Sandbox::with_own_etc(namespace)?, "etc/docker/daemon.json", &[], store)
    }

    /// Starts dockerd without a mirror.
    pub fn start_direct(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        let sandbox = Sandbox::with_direct_access(namespace, direct)?;
        Self::start_in(sandbox, "daemon.json", &[], DockerStore::Classic)
    }

    fn start_in(sandbox: Sandbox, config_file: &str, mirrors: &[&str], store: DockerStore) -> Result<Self> {
        let mut config = json!({
            "bridge": "none",
            "iptables": false,
            "ip6tables": false,
            "ip-forward": false,
            "features": { "containerd-snapshotter": store == DockerStore::Containerd },
        });
        if !mirrors.is_empty() {
            config["registry-mirrors"] = json!(mirrors);
        }
        let config = sandbox.write(config_file, &config.to_string())?;
        let mut command = sandbox.command("dockerd");
        command.arg("--config-file").arg(config);
        let mut process = Process::spawn("dockerd", command, sandbox.root())?;
        process.wait_for("serve its API", PROCESS_TIMEOUT, |_| {
            let mut version = sandbox.command("docker");
            version.arg("version");
            Ok(run(version, COMMAND_TIMEOUT)?.status.success().then_some(()))
        })?;
        Ok(Self { process, sandbox, store })
    }

    /// `docker pull`. Returns the pulled image.
    pub fn pull(&self, image: &str) -> Result<PulledImage> {
        run(self.docker(&["pull", image]), PULL_TIMEOUT)?.succeeded()?;
        self.inspect(image)
    }

    /// `docker pull` that must fail. Returns its stderr.
    pub fn pull_refused(&self, image: &str) -> Result<String> {
        run(self.docker(&["pull", image]), PULL_TIMEOUT)?.refused()
    }

    /// The image that dockerd has under this name.
    pub fn inspect(&self, image: &str) -> Result<PulledImage> {
        let json = run(self.docker(&["image", "inspect", "--format", "{{json .}}", image]), COMMAND_TIMEOUT)?
            .succeeded()?;
        let image: Value = serde_json::from_str(&json)?;
        let (_, digest) = text(&image["RepoDigests"][0])?.split_once('@').context("a RepoDigest has no @")?;
        Ok(PulledImage {
            digest: digest.to_owned(),
            config: text(&image["Id"])?.to_owned(),
            layers: texts(&image["RootFS"]["Layers"])?,
        })
    }

    /// `docker login REGISTRY`. Returns its output.
    pub fn login(&self, registry: &str, account: Account<'_>) -> Result<String> {
        run(self.login_command(registry, account)?, COMMAND_TIMEOUT)?.succeeded()
    }

    /// `docker login REGISTRY` that must fail. Returns its stderr.
    pub fn login_refused(&self, registry: &str, account: Account<'_>) -> Result<String> {
        run(self.login_command(registry, account)?, COMMAND_TIMEOUT)?.refused()
    }

    /// Stores this account for Docker Hub, as a `docker login` would before the network was blocked. docker sends
    /// it to the mirror.
    pub fn remember_hub_account(&self, account: Account<'_>) -> Result<()> {
        let auth = BASE64_STANDARD.encode(account.credentials());
        let config = json!({ "auths": { "https://index.docker.io/v1/": { "auth": auth } } });
        self.sandbox.write("home/.docker/config.json", &config.to_string())?;
        Ok(())
    }

    /// Removes all stored accounts.
    pub fn forget_accounts(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.sandbox.path("home/.docker"))?)
    }

    /// `docker load` of a tar. Returns the names of the images in it.
    pub fn load(&self, tar: &Path) -> Result<Vec<String>> {
        let mut command = self.docker(&["load", "--input"]);
        command.arg(tar);
        let output = run(command, PULL_TIMEOUT)?.succeeded()?;
        Ok(output.lines().filter_map(|line| line.strip_prefix("Loaded image: ")).map(str::to_owned).collect())
    }

    /// `docker rmi`, so that the next pull is a new one.
    pub fn remove(&self, image: &str) -> Result<()> {
        run(self.docker(&["rmi", "--force", image]), COMMAND_TIMEOUT)?.succeeded()?;
        Ok(())
    }

    /// Waits until dockerd has one mirror. It reads its config file again some time after a SIGHUP.
    pub fn wait_for_mirror(&mut self) -> Result<()> {
        let Self { process, sandbox, .. } = self;
        process.wait_for("read its mirror", PROCESS_TIMEOUT, |_| {
            let mut info = sandbox.command("docker");
            info.args(["info", "--format", "{{len .RegistryConfig.Mirrors}}"]);
            let count = run(info, COMMAND_TIMEOUT)?.succeeded()?;
            Ok((count.trim() == "1").then_some(()))
        })
    }

    /// Where it keeps its images.
    pub fn store(&self) -> DockerStore {
        self.store
    }

    /// The folders and commands of this dockerd.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The daemon.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `docker` with these arguments, connected to this dockerd.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command("docker");
        command.args(arguments);
        command
    }

    fn login_command(&self, registry: &str, account: Account<'_>) -> Result<Command> {
        let mut command = self.sandbox.command_with_input("docker", account.password)?;
        command.args(["login", "--username", account.user, "--password-stdin", registry]);
        Ok(command)
    }
}
