//! skopeo (Debian's 1.9): the `containers/image` library of podman and buildah, without a storage.
//! Must never convert an image: only exact bytes can be compared.

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

/// skopeo with a configuration of its own.
#[derive(Debug)]
pub struct Skopeo {
    sandbox: Sandbox,
    copies: AtomicUsize,
}

/// Configures `mirror` (`HOST:PORT`), if there is one, as the mirror of docker.io and as a registry without TLS,
/// for all tools that use `containers/image`.
pub(super) fn write_registries(sandbox: &Sandbox, mirror: Option<&str>) -> Result<()> {
    sandbox.write("containers/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    let mut registries = "unqualified-search-registries = [\"docker.io\"]\n".to_owned();
    if let Some(mirror) = mirror {
        registries.push_str(&mirror_config(mirror));
    }
    sandbox.write("containers/registries.conf", &registries)?;
    Ok(())
}

fn mirror_config(mirror: &str) -> String {
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
        PulledImage::from_store(&digest, |requested| {
            if requested == digest {
                return Ok(top.clone());
            }
            let hex = requested.strip_prefix("sha256:").context("not a sha256 digest")?;
            // A platform's manifest has its own name in the folder, everything else is stored under its bare
            // digest.
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
    /// skopeo in `namespace`, with `mirror` (`127.0.0.1:PORT`) as the mirror of docker.io.
    pub fn new(namespace: &Namespace, mirror: &str) -> Result<Self> {
        Self::new_in(Sandbox::new(namespace)?, Some(mirror))
    }

    /// skopeo without a mirror in a sandbox with its own `/etc`, for `docxy-client setup`.
    pub fn unconfigured(namespace: &Namespace) -> Result<Self> {
        Self::new_in(Sandbox::with_own_etc(namespace)?, None)
    }

    /// skopeo without a mirror.
    pub fn direct(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        Self::new_in(Sandbox::with_direct_access(namespace, direct)?, None)
    }

    fn new_in(sandbox: Sandbox, mirror: Option<&str>) -> Result<Self> {
        write_registries(&sandbox, mirror)?;
        Ok(Self { sandbox, copies: AtomicUsize::new(0) })
    }

    /// `skopeo copy --all oci:LAYOUT docker://IMAGE`: pushes an image to a registry.
    pub fn push(&self, layout: &Path, image: &str) -> Result<()> {
        let mut command = self.skopeo(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false"]);
        command.args([format!("oci:{}", layout.display()), format!("docker://{image}")]);
        run(command, PULL_TIMEOUT)?.succeeded()?;
        Ok(())
    }

    /// `skopeo login REGISTRY`: the only way to send an account to a mirror. skopeo sends the account of
    /// `--src-creds` to the registry in the image's name, and never to mirrors.
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

    /// Its folders and commands.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The path of a file in the sandbox (`home/…`).
    pub fn path(&self, path: &str) -> PathBuf {
        self.sandbox.path(path)
    }

    fn copy_command(&self, image: &str, target: &str, account: Option<Account<'_>>) -> Command {
        let mut command = self.skopeo(&["copy", "--all", "--preserve-digests"]);
        if let Some(account) = account {
            command.args(["--src-creds", &account.credentials()]);
        }
        command.args([&format!("docker://{image}"), target]);
        command
    }

    fn next_folder(&self) -> PathBuf {
        self.sandbox.path(&format!("copy-{}", self.copies.fetch_add(1, Ordering::Relaxed)))
    }
}
