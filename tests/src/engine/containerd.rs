//! containerd (Debian's 1.6) and `ctr` with a `hosts.toml`.
//! Must never fall back to plain names: `ctr` takes full references only (`docker.io/library/alpine:latest`).

use std::process::Command;

use anyhow::{Context, Result};

use super::{Account, COMMAND, Direct, Engine, PULL, Pulled, Sandbox};
use crate::{
    net::Namespace,
    process::{PATIENCE, Process, run},
};

/// containerd without the Kubernetes part, which needs network plugins and pulls nothing here.
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
    fn pull(&self, image: &str, account: Option<Account<'_>>) -> Result<Pulled> {
        run(self.pull_command(image, account), PULL)?.succeeded()?;
        self.inspect(image)
    }

    fn pull_refused(&self, image: &str, account: Option<Account<'_>>) -> Result<String> {
        run(self.pull_command(image, account), PULL)?.refused()
    }
}

impl Containerd {
    /// Starts one in `namespace` whose mirror for docker.io is `mirror` (`http://127.0.0.1:PORT`).
    pub fn start(namespace: &Namespace, mirror: &str) -> Result<Self> {
        let containerd = Self::start_in(Sandbox::new(namespace)?)?;
        containerd.mirror("docker.io", "https://registry-1.docker.io", mirror)?;
        Ok(containerd)
    }

    /// Sets the mirror of a registry. `ctr` reads this file for each pull.
    pub fn mirror(&self, registry: &str, server: &str, mirror: &str) -> Result<()> {
        self.sandbox.write(
            &format!("hosts/{registry}/hosts.toml"),
            &format!(
                "server = \"{server}\"\n\
                 [host.\"{mirror}\"]\n\
                 capabilities = [\"pull\", \"resolve\"]\n"
            ),
        )?;
        Ok(())
    }

    /// Starts one without a mirror.
    pub fn start_direct(namespace: &Namespace, direct: &Direct) -> Result<Self> {
        Self::start_in(Sandbox::knowing(namespace, direct)?)
    }

    fn start_in(sandbox: Sandbox) -> Result<Self> {
        let config = sandbox.write("config.toml", CONFIG)?;
        let mut command = sandbox.command("containerd");
        command.arg("--config").arg(config);
        let mut process = Process::spawn("containerd", command, sandbox.root())?;
        process.wait_for_line("containerd successfully booted", PATIENCE)?;
        Ok(Self { _process: process, sandbox })
    }

    /// What containerd has under this name.
    pub fn inspect(&self, image: &str) -> Result<Pulled> {
        let table = run(self.ctr(&["images", "list", &format!("name=={image}")]), COMMAND)?.succeeded()?;
        let row = table
            .lines()
            .find(|line| line.starts_with(image))
            .with_context(|| format!("no {image}\n{table}"))?;
        // REF TYPE DIGEST SIZE PLATFORMS LABELS
        let digest = row.split_whitespace().nth(2).with_context(|| format!("no digest in `{row}`"))?;
        Pulled::from_store(digest, |digest| {
            Ok(run(self.ctr(&["content", "get", digest]), COMMAND)?.succeeded()?.into_bytes())
        })
    }

    /// `ctr` with these arguments, talking to this containerd.
    pub fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command("ctr");
        command.args(["--namespace", "docxy"]).args(arguments);
        command
    }

    /// `ctr images pull`: it is ctr that talks to registries here, not the daemon. With `--debug` it draws no
    /// progress; else it would end only when it had drawn that once more, which it does every 100 ms.
    pub fn pull_command(&self, image: &str, account: Option<Account<'_>>) -> Command {
        let mut command = self.ctr(&["--debug", "images", "pull", "--hosts-dir"]);
        command.arg(self.sandbox.path("hosts"));
        if let Some(account) = account {
            command.args(["--user", &account.pair()]);
        }
        command.arg(image);
        command
    }
}
