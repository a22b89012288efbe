//! The engines of the table, each in a sandbox with its own config files, and what else is checked of each.
//! Must never name the client to an engine that is set up, except where it cannot be set up.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use anyhow::{Result, ensure};
use docxy_tests::{
    engine::{
        Buildah, Buildkitd, Containerd, DockerStore, Dockerd, Engine as _, Podman, PulledImage, Sandbox,
        Skopeo,
    },
    net::Namespace,
    process::run,
};

use super::{
    TIMEOUT,
    bed::{Bed, HUB, PRIVATE, PUSHED},
    succeeds,
};
use crate::support::testbed::ALICE;

/// A row of the table.
pub(super) struct EngineRow {
    pub(super) title: &'static str,
    /// Whether it is installed. Those may be missing that Debian 12 has not.
    pub(super) is_here: fn() -> bool,
    /// `docxy-client setup ENGINE`
    pub(super) setup: &'static str,
    /// The flag that makes it read its files again.
    pub(super) apply: &'static [&'static str],
    pub(super) start: fn(&Namespace) -> Result<Box<dyn SetUp>>,
}

/// The rows.
pub(super) const ENGINES: &[EngineRow] = &[
    EngineRow { apply: &["--apply"], ..row("dockerd", "docker", |at| Ok(Box::new(start_docker(at)?))) },
    EngineRow {
        is_here: docker_has_both_stores,
        ..row("dockerd-containerd", "docker", |at| {
            Ok(Box::new(Dockerd::unconfigured(at, DockerStore::Containerd)?))
        })
    },
    row("containerd", "containerd", |at| Ok(Box::new(Containerd::unconfigured(at)?))),
    row("podman", "podman", |at| Ok(Box::new(Podman::unconfigured(at)?))),
    row("skopeo", "podman", |at| Ok(Box::new(Skopeo::unconfigured(at)?))),
    row("buildah", "podman", |at| Ok(Box::new(Buildah::unconfigured(at)?))),
    EngineRow {
        is_here: || Sandbox::has("buildkitd") && Sandbox::has("buildctl"),
        ..row("buildkitd", "buildkitd", |at| Ok(Box::new(Buildkitd::unconfigured(at)?)))
    },
];

const fn row(
    title: &'static str,
    setup: &'static str,
    start: fn(&Namespace) -> Result<Box<dyn SetUp>>,
) -> EngineRow {
    EngineRow { title, is_here: || true, setup, apply: &[], start }
}

/// Whether the installed dockerd mirrors every registry if its images are in containerd's store: since version 28.
fn docker_has_both_stores() -> bool {
    let mut version = Command::new("dockerd");
    version.arg("--version");
    let printed = run(version, TIMEOUT).map(|printed| printed.stdout).unwrap_or_default();
    let major = printed.split(' ').nth(2).and_then(|version| version.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major >= 28)
}

/// An engine that is set up.
pub(super) trait SetUp {
    fn sandbox(&self) -> &Sandbox;

    /// Pulls an image, which must be the expected one.
    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()>;

    /// Pulls an image, and pushes it under another name.
    fn push(&self, from: &str, to: &str) -> Result<()>;

    /// Whether it pulls from the client by this registry's own name.
    fn is_mirrored(&self, _registry: &str) -> bool {
        true
    }

    /// Waits until it has read its files again.
    fn reload(&mut self) -> Result<()> {
        Ok(())
    }

    /// What is checked of this engine alone.
    fn more(&self, _bed: &Bed) -> Result<()> {
        Ok(())
    }
}

fn is_expected(pulled: &PulledImage, expected: &PulledImage) -> Result<()> {
    ensure!(pulled == expected, "pulled {pulled:?} instead of {expected:?}");
    Ok(())
}

/// dockerd, and a `systemctl` that knows `reload docker` only: here is no systemd.
fn start_docker(namespace: &Namespace) -> Result<Dockerd> {
    let docker = Dockerd::unconfigured(namespace, DockerStore::Classic)?;
    let script = "#!/bin/sh\n[ \"$*\" = 'reload docker' ] && kill -HUP \"$(cat /run/docker.pid)\"\n";
    let path = docker.sandbox().write("home/bin/systemctl", script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    // The mirror is the only way.
    docker.pull_refused(PUSHED)?;
    Ok(docker)
}

impl SetUp for Dockerd {
    fn sandbox(&self) -> &Sandbox {
        self.sandbox()
    }

    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()> {
        let mut pulled = self.pull(image)?;
        if self.store() == DockerStore::Containerd {
            // An image is named by its digest there, and not by that of its config.
            pulled.config.clone_from(&expected.config);
        }
        is_expected(&pulled, expected)
    }

    fn push(&self, from: &str, to: &str) -> Result<()> {
        succeeds(self.docker(&["pull", from]))?;
        succeeds(self.docker(&["tag", from, to]))?;
        succeeds(self.docker(&["push", to]))?;
        self.remove(to)?;
        self.remove(from)
    }

    fn is_mirrored(&self, registry: &str) -> bool {
        self.store() == DockerStore::Containerd || registry == HUB
    }

    fn reload(&mut self) -> Result<()> {
        match self.store() {
            DockerStore::Classic => self.wait_for_mirror(),
            DockerStore::Containerd => Ok(()),
        }
    }
}

/// Where `setup` writes, and nothing is before.
const CERTS: &str = "/etc/containerd/certs.d";

impl SetUp for Containerd {
    fn sandbox(&self) -> &Sandbox {
        self.sandbox()
    }

    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()> {
        succeeds(self.ctr(&["--debug", "images", "pull", "--hosts-dir", CERTS, image]))?;
        is_expected(&self.inspect(image)?, expected)
    }

    fn push(&self, from: &str, to: &str) -> Result<()> {
        let hosts: &[&str] = if from.starts_with(HUB) { &["--hosts-dir", CERTS] } else { &["--plain-http"] };
        // ctr 2 pushes the index that it has pulled, also without the manifests of other platforms.
        succeeds(self.ctr(&[&["--debug", "images", "pull", "--all-platforms"], hosts, &[from]].concat()))?;
        succeeds(self.ctr(&["images", "push", "--hosts-dir", CERTS, to, from]))
    }

    fn more(&self, _bed: &Bed) -> Result<()> {
        let mut dump = self.sandbox().command("containerd");
        dump.args(["config", "dump"]);
        let effective = run(dump, TIMEOUT)?.succeeded()?;
        let is_set = |quote: char| effective.contains(&format!("config_path = {quote}{CERTS}{quote}"));
        ensure!(is_set('"') || is_set('\''), "{effective}");
        Ok(())
    }
}

impl SetUp for Podman {
    fn sandbox(&self) -> &Sandbox {
        self.sandbox()
    }

    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()> {
        is_expected(&docxy_tests::engine::Engine::pull(self, image, None)?, expected)
    }

    fn push(&self, from: &str, to: &str) -> Result<()> {
        succeeds(self.podman(&["pull", "--tls-verify=false", from]))?;
        succeeds(self.podman(&["push", "--tls-verify=false", from, to]))
    }

    fn more(&self, bed: &Bed) -> Result<()> {
        self.login(&bed.client_host(), ALICE)?;
        SetUp::pull(self, &format!("{HUB}/{PRIVATE}:latest"), &bed.private)?;
        let push = self.podman(&["push", &format!("{HUB}/{PUSHED}:latest"), "docker.io/my/app"]);
        let refusal = run(push, TIMEOUT)?.refused()?;
        ensure!(refusal.contains("registry-1.docker.io"), "a push goes to the registry: {refusal}");
        // The registry is never asked: the error is ours, and no other host's.
        let refusal = self.pull_refused("docker.io/library/nosuch:latest", None)?;
        ensure!(!refusal.contains("registry-1.docker.io"), "{refusal}");
        Ok(())
    }
}

impl SetUp for Skopeo {
    fn sandbox(&self) -> &Sandbox {
        self.sandbox()
    }

    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()> {
        is_expected(&docxy_tests::engine::Engine::pull(self, image, None)?, expected)
    }

    fn push(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
        succeeds(self.skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to]))
    }
}

impl SetUp for Buildah {
    fn sandbox(&self) -> &Sandbox {
        self.sandbox()
    }

    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()> {
        is_expected(&self.pull(image)?, expected)
    }

    fn push(&self, from: &str, to: &str) -> Result<()> {
        succeeds(self.buildah(&["pull", "--tls-verify=false", from]))?;
        succeeds(self.buildah(&["push", "--tls-verify=false", from, &format!("docker://{to}")]))
    }
}

impl SetUp for Buildkitd {
    fn sandbox(&self) -> &Sandbox {
        self.sandbox()
    }

    fn pull(&self, image: &str, expected: &PulledImage) -> Result<()> {
        // Manifest and config are BuildKit's own.
        let pulled = self.pull(image)?;
        ensure!(pulled.layers == expected.layers, "pulled {pulled:?} instead of {expected:?}");
        Ok(())
    }

    fn push(&self, from: &str, to: &str) -> Result<()> {
        self.push(from, to)
    }

    fn reload(&mut self) -> Result<()> {
        self.restart()
    }
}
