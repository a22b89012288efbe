//! skopeo (Debian's 1.9): the `containers/image` library that podman and buildah use, without a storage.
//! Must never convert what it copies: only exact bytes can be compared.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result};

use super::{
    Account, COMMAND_TIMEOUT, DirectAccess, Engine, PULL_TIMEOUT, PulledImage, Sandbox, image::digest_of,
};
use crate::{net::Namespace, process::run};

/// A skopeo with a configuration of its own.
#[derive(Debug)]
pub struct Skopeo {
    sandbox: Sandbox,
    copies: AtomicUsize,
}

/// Makes `mirror` (`HOST:PORT`), if there is one, the mirror of docker.io, and a registry that may itself be named without
/// TLS, for all tools that use `containers/image`.
pub(super) fn write_registries(sandbox: &Sandbox, mirror: Option<&str>) -> Result<()> {
    sandbox.write("containers/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    let mut registries = "unqualified-search-registries = [\"docker.io\"]\n".to_owned();
    if let Some(mirror) = mirror {
        registries.push_str(&mirrored(mirror));
    }
    sandbox.write("containers/registries.conf", &registries)?;
    Ok(())
}

fn mirrored(mirror: &str) -> String {
    format!(
        "[[registry]]\n\
         location = \"docker.io\"\n\
         [[registry.mirror]]\n\
         location = \"{mirror}\"\n\
         insecure = true\n\
         [[registry]]\n\
         location = \"{mirror}\"\n\
         insecure = true\n"
    )
}

/// A pull is `skopeo copy --all docker://IMAGE dir:…`: every platform, byte for byte.
impl Engine for Skopeo {
    fn pull(&self, image: &str, account: Option<Account<'_>>) -> Result<PulledImage> {
        let folder = self.next_folder();
        run(self.copy_command(image, &format!("dir:{}", folder.display()), account), PULL_TIMEOUT)?
            .succeeded()?;
        let top = fs::read(folder.join("manifest.json"))?;
        let digest = digest_of(&top);
        PulledImage::from_store(&digest, |wanted| {
            if wanted == digest {
                return Ok(top.clone());
            }
            let hex = wanted.strip_prefix("sha256:").context("not a sha256 digest")?;
            // A platform's manifest is kept beside the index, everything else under its bare digest.
            let manifest = folder.join(format!("{hex}.manifest.json"));
            Ok(fs::read(if manifest.exists() { manifest } else { folder.join(hex) })?)
        })
    }

    fn pull_refused(&self, image: &str, account: Option<Account<'_>>) -> Result<String> {
        let target = format!("dir:{}", self.next_folder().display());
        run(self.copy_command(image, &target, account), PULL_TIMEOUT)?.refused()
    }
}

impl Skopeo {
    /// One in `namespace` whose mirror for docker.io is `mirror` (`127.0.0.1:PORT`).
    pub fn new(namespace: &Namespace, mirror: &str) -> Result<Self> {
        Self::new_in(Sandbox::new(namespace)?, Some(mirror))
    }

    /// One without a mirror.
    pub fn direct(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        Self::new_in(Sandbox::with_direct_access(namespace, direct)?, None)
    }

    fn new_in(sandbox: Sandbox, mirror: Option<&str>) -> Result<Self> {
        write_registries(&sandbox, mirror)?;
        Ok(Self { sandbox, copies: AtomicUsize::new(0) })
    }

    /// `skopeo copy --all oci:LAYOUT docker://IMAGE`: how images get into a registry.
    pub fn push(&self, layout: &Path, image: &str) -> Result<()> {
        let mut command = self.skopeo(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false"]);
        command.args([format!("oci:{}", layout.display()), format!("docker://{image}")]);
        run(command, PULL_TIMEOUT)?.succeeded()?;
        Ok(())
    }

    /// `skopeo login REGISTRY`: the one way for an account to get to a mirror. What goes with a pull (`--src-creds`) is for the
    /// registry that the image's name says, and is kept from mirrors.
    pub fn login(&self, registry: &str, account: Account<'_>) -> Result<String> {
        let mut command = self.sandbox.command_with_input("skopeo", account.password)?;
        command.args(["login", "--username", account.user, "--password-stdin", registry]);
        run(command, COMMAND_TIMEOUT)?.succeeded()
    }

    /// `skopeo` with these arguments.
    pub fn skopeo(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command("skopeo");
        command.args(arguments);
        command
    }

    /// A file or folder of its own, where the sandbox says (`home/…`).
    pub fn path(&self, path: &str) -> PathBuf {
        self.sandbox.path(path)
    }

    fn copy_command(&self, image: &str, target: &str, account: Option<Account<'_>>) -> Command {
        let mut command = self.skopeo(&["copy", "--all", "--preserve-digests"]);
        if let Some(account) = account {
            command.args(["--src-creds", &account.pair()]);
        }
        command.args([&format!("docker://{image}"), target]);
        command
    }

    fn next_folder(&self) -> PathBuf {
        self.sandbox.path(&format!("copy-{}", self.copies.fetch_add(1, Ordering::Relaxed)))
    }
}
