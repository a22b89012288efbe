//! buildah (Debian's 1.28): podman's storage and registries, without containers.
//! Must never build: it pulls and pushes only.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    COMMAND_TIMEOUT, PULL_TIMEOUT, PulledImage, Sandbox,
    image::{text, texts},
    podman::write_storage,
    skopeo::write_registries,
};
use crate::{net::Namespace, process::run};

/// buildah with a storage of its own.
#[derive(Debug)]
pub struct Buildah {
    sandbox: Sandbox,
}

impl Buildah {
    /// buildah without a mirror in a sandbox with its own `/etc`, for `docxy-client setup`.
    pub fn unconfigured(namespace: &Namespace) -> Result<Self> {
        let sandbox = Sandbox::with_own_etc(namespace)?;
        write_registries(&sandbox, None)?;
        write_storage(&sandbox)?;
        Ok(Self { sandbox })
    }

    /// `buildah pull`. Returns the pulled image.
    pub fn pull(&self, image: &str) -> Result<PulledImage> {
        run(self.buildah(&["pull", "--quiet", image]), PULL_TIMEOUT)?.succeeded()?;
        let images =
            run(self.buildah(&["images", "--json", "--digests", image]), COMMAND_TIMEOUT)?.succeeded()?;
        let images: Value = serde_json::from_str(&images)?;
        let json = run(self.buildah(&["inspect", "--type", "image", image]), COMMAND_TIMEOUT)?.succeeded()?;
        let inspected: Value = serde_json::from_str(&json)?;
        Ok(PulledImage {
            digest: text(&images[0]["digest"])?.to_owned(),
            config: format!("sha256:{}", text(&inspected["FromImageID"])?),
            layers: texts(&inspected["OCIv1"]["rootfs"]["diff_ids"]).context("OCIv1.rootfs.diff_ids")?,
        })
    }

    /// `buildah` with these arguments.
    pub fn buildah(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command("buildah");
        command.args(arguments);
        command
    }

    /// Its folders and commands.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}
