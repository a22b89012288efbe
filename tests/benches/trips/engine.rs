//! The engines: each pulls by the command that its users type, and removes the image again.
//! Must never inspect the pulled image: the `engines` suite does, and here it would take time.

use std::{
    fmt::{self, Display},
    fs,
    io::ErrorKind,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use clap::ValueEnum;
use docxy_tests::{
    docxy::Client,
    engine::{Containerd, DirectAccess, Dockerd, Podman, Skopeo},
    net::Namespace,
    process::run,
};
use serde::Serialize;

/// Timeout of a command that transfers nothing.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// The engine of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineKind {
    /// `docker pull`, by a dockerd with the classic store
    Docker,
    /// `ctr images pull`, by containerd
    Containerd,
    /// `podman pull`
    Podman,
    /// `skopeo copy` to an OCI layout, this machine's platform only
    Skopeo,
}

/// A running engine.
pub(crate) enum Engine {
    Docker(Dockerd),
    Containerd(Containerd),
    Podman(Podman),
    Skopeo(Skopeo),
}

impl EngineKind {
    /// All engines.
    pub(crate) const ALL: [Self; 4] = [Self::Docker, Self::Containerd, Self::Podman, Self::Skopeo];
}

impl Display for EngineKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Skopeo => "skopeo",
        })
    }
}

impl Engine {
    /// Starts an engine that has the client as its mirror.
    pub(crate) fn start(kind: EngineKind, namespace: &Namespace, client: &Client) -> Result<Self> {
        let registry = client.address().to_string();
        Ok(match kind {
            EngineKind::Docker => Self::Docker(Dockerd::start(namespace, &client.url())?),
            EngineKind::Containerd => Self::Containerd(Containerd::start(namespace, &client.url())?),
            EngineKind::Podman => Self::Podman(Podman::new(namespace, &registry)?),
            EngineKind::Skopeo => Self::Skopeo(Skopeo::new(namespace, &registry)?),
        })
    }

    /// Starts an engine that connects directly to the registry.
    pub(crate) fn direct(kind: EngineKind, namespace: &Namespace, hub: &DirectAccess) -> Result<Self> {
        Ok(match kind {
            EngineKind::Docker => Self::Docker(Dockerd::start_direct(namespace, hub)?),
            EngineKind::Containerd => Self::Containerd(Containerd::start_direct(namespace, hub)?),
            EngineKind::Podman => Self::Podman(Podman::direct(namespace, hub)?),
            EngineKind::Skopeo => Self::Skopeo(Skopeo::direct(namespace, hub)?),
        })
    }

    /// The command that pulls `image` (`docker.io/library/alpine:latest`).
    pub(crate) fn pull(&self, image: &str) -> Command {
        match self {
            Self::Docker(docker) => docker.docker(&["pull", image]),
            Self::Containerd(containerd) => containerd.pull_command(image, None),
            Self::Podman(podman) => podman.podman(&["pull", image]),
            Self::Skopeo(skopeo) => {
                let source = format!("docker://{image}");
                let target = format!("oci:{}:latest", layout(skopeo, image).display());
                skopeo.skopeo(&["copy", "--preserve-digests", &source, &target])
            }
        }
    }

    /// Removes the image with its layers.
    pub(crate) fn remove(&self, image: &str) -> Result<()> {
        let command = match self {
            Self::Docker(docker) => return docker.remove(image),
            Self::Containerd(containerd) => containerd.ctr(&["images", "remove", "--sync", image]),
            Self::Podman(podman) => podman.podman(&["rmi", "--force", image]),
            Self::Skopeo(skopeo) => {
                return match fs::remove_dir_all(layout(skopeo, image)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                };
            }
        };
        run(command, COMMAND_TIMEOUT)?.succeeded().map(drop)
    }
}

/// The folder to which skopeo copies this image; it has no storage of its own.
fn layout(skopeo: &Skopeo, image: &str) -> PathBuf {
    skopeo.path(&image.replace(['/', ':'], "_"))
}
