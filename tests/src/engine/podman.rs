//! podman (Debian's 4.3) with a `registries.conf`. It has no daemon: each command is a process of its own.
//! Must never run a container.

use std::{path::Path, process::Command};

use anyhow::Result;
use serde_json::Value;

use super::{
    Account, COMMAND_TIMEOUT, DirectAccess, Engine, PULL_TIMEOUT, PulledImage, Sandbox,
    image::{text, texts},
    skopeo::write_registries,
};
use crate::{net::Namespace, process::run};

/// podman with a storage of its own.
#[derive(Debug)]
pub struct Podman {
    sandbox: Sandbox,
}

impl Engine for Podman {
    fn pull(&self, image: &str, account: Option<Account<'_>>) -> Result<PulledImage> {
        run(self.pull_command(image, account), PULL_TIMEOUT)?.succeeded()?;
        self.inspect(image)
    }

    fn pull_refused(&self, image: &str, account: Option<Account<'_>>) -> Result<String> {
        run(self.pull_command(image, account), PULL_TIMEOUT)?.refused()
    }
}

/// Configures the storage of podman and buildah. vfs works on every file system of the temporary folder.
pub(super) fn write_storage(sandbox: &Sandbox) -> Result<()> {
    let storage = "[storage]\n\
                   driver = \"vfs\"\n\
                   graphroot = \"/var/lib/containers/storage\"\n\
                   runroot = \"/run/containers/storage\"\n";
    sandbox.write("containers/storage.conf", storage)?;
    Ok(())
}

impl Podman {
    /// podman in `namespace`, with `mirror` (`127.0.0.1:PORT`) as the mirror of docker.io.
    pub fn new(namespace: &Namespace, mirror: &str) -> Result<Self> {
        Self::new_in(Sandbox::new(namespace)?, Some(mirror))
    }

    /// podman without a mirror in a sandbox with its own `/etc`, for `docxy-client setup`.
    pub fn unconfigured(namespace: &Namespace) -> Result<Self> {
        Self::new_in(Sandbox::with_own_etc(namespace)?, None)
    }

    /// The folders and commands of this podman.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// podman without a mirror.
    pub fn direct(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        Self::new_in(Sandbox::with_direct_access(namespace, direct)?, None)
    }

    fn new_in(sandbox: Sandbox, mirror: Option<&str>) -> Result<Self> {
        write_registries(&sandbox, mirror)?;
        write_storage(&sandbox)?;
        Ok(Self { sandbox })
    }

    /// The image that podman has under this name.
    pub fn inspect(&self, image: &str) -> Result<PulledImage> {
        let json = run(self.podman(&["image", "inspect", image]), COMMAND_TIMEOUT)?.succeeded()?;
        let images: Value = serde_json::from_str(&json)?;
        let image = &images[0];
        Ok(PulledImage {
            digest: text(&image["Digest"])?.to_owned(),
            config: format!("sha256:{}", text(&image["Id"])?),
            layers: texts(&image["RootFS"]["Layers"])?,
        })
    }

    /// `podman load` of a tar. Returns the names of the images in it.
    pub fn load(&self, tar: &Path) -> Result<Vec<String>> {
        let mut command = self.podman(&["load", "--quiet", "--input"]);
        command.arg(tar);
        let output = run(command, PULL_TIMEOUT)?.succeeded()?;
        Ok(output.lines().filter_map(|line| line.strip_prefix("Loaded image: ")).map(str::to_owned).collect())
    }

    /// `podman login REGISTRY`: the only way to send an account to a mirror. podman sends the account of `--creds`
    /// to the registry in the image's name, and never to mirrors.
    pub fn login(&self, registry: &str, account: Account<'_>) -> Result<String> {
        let mut command = self.sandbox.command_with_input("podman", account.password)?;
        command.args(["login", "--username", account.user, "--password-stdin", registry]);
        run(command, COMMAND_TIMEOUT)?.succeeded()
    }

    /// `podman` with these arguments.
    pub fn podman(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command("podman");
        command.args(arguments);
        command
    }

    fn pull_command(&self, image: &str, account: Option<Account<'_>>) -> Command {
        let mut command = self.podman(&["pull"]);
        if let Some(account) = account {
            command.args(["--creds", &account.credentials()]);
        }
        command.arg(image);
        command
    }
}
