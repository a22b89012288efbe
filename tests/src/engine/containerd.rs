//! containerd (Debian's 1.6) and `ctr` with a `hosts.toml`.
//! Must never use short names: `ctr` takes full references only (`docker.io/library/alpine:latest`).

use std::process::Command;

use anyhow::{Context, Result};

use super::{Account, COMMAND_TIMEOUT, DirectAccess, Engine, PULL_TIMEOUT, PulledImage, Sandbox};
use crate::{
    net::Namespace,
    process::{PROCESS_TIMEOUT, Process, run},
};

/// Disables the Kubernetes plugin, which needs network plugins and is not used here.
const CONFIG: &str = r#"
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"#;

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    _process: Process,
    sandbox: Sandbox,
}

impl Engine for Containerd {
    fn pull(&self, image: &str, account: Option<Account<'_>>) -> Result<PulledImage> {
        run(self.pull_command(image, account), PULL_TIMEOUT)?.succeeded()?;
        self.inspect(image)
    }

    fn pull_refused(&self, image: &str, account: Option<Account<'_>>) -> Result<String> {
        run(self.pull_command(image, account), PULL_TIMEOUT)?.refused()
    }
}

impl Containerd {
    /// Starts containerd in `namespace`, with `mirror` (`http://127.0.0.1:PORT`) as the mirror of docker.io.
    pub fn start(namespace: &Namespace, mirror: &str) -> Result<Self> {
        let containerd = Self::start_in(Sandbox::new(namespace)?)?;
        containerd.mirror("docker.io", "https://registry-1.docker.io", mirror)?;
        Ok(containerd)
    }

    /// Starts containerd without a mirror in a sandbox with its own `/etc`, for `docxy-client setup`.
    pub fn unconfigured(namespace: &Namespace) -> Result<Self> {
        Self::start_in(Sandbox::with_own_etc(namespace)?)
    }

    /// The folders and commands of this containerd.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Sets the mirror of a registry. `ctr` reads this file for each pull.
    pub fn mirror(&self, registry: &str, server: &str, mirror: &str) -> Result<()> {
        self.write_hosts(registry, server, mirror, "")
    }

    /// The same for a mirror whose URL has a path, to which the repository's name is added.
    pub fn mirror_with_path(&self, registry: &str, server: &str, mirror: &str) -> Result<()> {
        self.write_hosts(registry, server, mirror, "override_path = true\n")
    }

    fn write_hosts(&self, registry: &str, server: &str, mirror: &str, more: &str) -> Result<()> {
        self.sandbox.write(
            &format!("hosts/{registry}/hosts.toml"),
            &format!(
                "server = \"{server}\"\n\
                 [host.\"{mirror}\"]\n\
                 capabilities = [\"pull\", \"resolve\"]\n{more}"
            ),
        )?;
        Ok(())
    }

    /// Starts containerd without a mirror.
    pub fn start_direct(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        Self::start_in(Sandbox::with_direct_access(namespace, direct)?)
    }

    fn start_in(sandbox: Sandbox) -> Result<Self> {
        let config = sandbox.write("config.toml", CONFIG)?;
        let mut command = sandbox.command("containerd");
        command.arg("--config").arg(config);
        let mut process = Process::spawn("containerd", command, sandbox.root())?;
        process.wait_for("serve its API", PROCESS_TIMEOUT, |_| {
            let mut version = sandbox.command("ctr");
            version.arg("version");
            Ok(run(version, COMMAND_TIMEOUT)?.status.success().then_some(()))
        })?;
        Ok(Self { _process: process, sandbox })
    }

    /// The image that containerd has under this name.
    pub fn inspect(&self, image: &str) -> Result<PulledImage> {
        let table =
            run(self.ctr(&["images", "list", &format!("name=={image}")]), COMMAND_TIMEOUT)?.succeeded()?;
        let row = table
            .lines()
            .find(|line| line.starts_with(image))
            .with_context(|| format!("no {image}\n{table}"))?;
        // REF TYPE DIGEST SIZE PLATFORMS LABELS
        let digest = row.split_whitespace().nth(2).with_context(|| format!("no digest in `{row}`"))?;
        PulledImage::from_store(digest, |digest| {
            Ok(run(self.ctr(&["content", "get", digest]), COMMAND_TIMEOUT)?.succeeded()?.into_bytes())
        })
    }

    /// `ctr` with these arguments, connected to this containerd.
    pub fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command("ctr");
        command.args(["--namespace", "docxy"]).args(arguments);
        command
    }

    /// `ctr images pull`: ctr, not the daemon, connects to registries. With `--debug` it draws no progress;
    /// otherwise it would end only after its next drawing, up to 100 ms later.
    pub fn pull_command(&self, image: &str, account: Option<Account<'_>>) -> Command {
        let mut command = self.ctr(&["--debug", "images", "pull", "--hosts-dir"]);
        command.arg(self.sandbox.path("hosts"));
        if let Some(account) = account {
            command.args(["--user", &account.credentials()]);
        }
        command.arg(image);
        command
    }
}
