//! buildkitd, which Debian 12 has not: it is tried where it is installed. A pull is a build of `FROM IMAGE` into an
//! OCI layout.
//! Must never run a container.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{COMMAND_TIMEOUT, PULL_TIMEOUT, PulledImage, Sandbox, image::text};
use crate::{
    net::Namespace,
    process::{PROCESS_TIMEOUT, Process, run},
};

/// A buildkitd, which reads its config file only at its start.
#[derive(Debug)]
pub struct Buildkitd {
    process: Option<Process>,
    sandbox: Sandbox,
}

impl Buildkitd {
    /// Starts buildkitd in `namespace` without a mirror, with its config file at the default place.
    pub fn unconfigured(namespace: &Namespace) -> Result<Self> {
        let sandbox = Sandbox::with_own_etc(namespace)?;
        sandbox
            .write("etc/buildkit/buildkitd.toml", "# As it was.\n[worker.containerd]\nenabled = false\n")?;
        let mut buildkitd = Self { process: None, sandbox };
        buildkitd.restart()?;
        Ok(buildkitd)
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        let command = self.sandbox.command("buildkitd");
        let mut process = Process::spawn("buildkitd", command, self.sandbox.root())?;
        process.wait_for("serve its API", PROCESS_TIMEOUT, |_| {
            let mut workers = self.sandbox.command("buildctl");
            workers.args(["debug", "workers"]);
            Ok(run(workers, COMMAND_TIMEOUT)?.status.success().then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Builds `FROM image`. The layers are those of the image; manifest and config are BuildKit's own.
    pub fn pull(&self, image: &str) -> Result<PulledImage> {
        let layout = self.sandbox.path("home/layout");
        if layout.exists() {
            fs::remove_dir_all(&layout)?;
        }
        self.build(image, &format!("type=oci,tar=false,dest={}", layout.display()))?;
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        PulledImage::from_store(text(&index["manifests"][0]["digest"])?, |digest| {
            let hex = digest.strip_prefix("sha256:").context("not a sha256 digest")?;
            Ok(fs::read(layout.join("blobs/sha256").join(hex))?)
        })
    }

    /// Builds `FROM from` and pushes it as `to`.
    pub fn push(&self, from: &str, to: &str) -> Result<()> {
        self.build(from, &format!("type=image,name={to},push=true,registry.insecure=true"))
    }

    /// Its folders and commands.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    fn build(&self, image: &str, output: &str) -> Result<()> {
        self.sandbox.write("home/context/Dockerfile", &format!("FROM {image}\n"))?;
        let context = self.sandbox.path("home/context");
        let mut build: Command = self.sandbox.command("buildctl");
        build.args(["build", "--progress=plain", "--frontend=dockerfile.v0", "--output", output]);
        for local in ["context", "dockerfile"] {
            build.arg(format!("--local={local}={}", context.display()));
        }
        run(build, PULL_TIMEOUT)?.succeeded().map(drop)
    }
}
