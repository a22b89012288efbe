//! Debian's engines, run for real in a namespace, one type each. They pull, and report the image that they have.
//! Must never use an engine's state or configuration on this machine, nor know who serves the images.

mod buildah;
mod buildkitd;
mod containerd;
mod dockerd;
mod image;
mod plain;
mod podman;
mod registry;
mod sandbox;
mod skopeo;

use std::time::Duration;

use anyhow::Result;

pub use buildah::Buildah;
pub use buildkitd::Buildkitd;
pub use containerd::Containerd;
pub use dockerd::{DockerStore, Dockerd};
pub use image::PulledImage;
pub use plain::{Arrivals, Body, PlainEngine};
pub use podman::Podman;
pub use registry::Registry;
pub use sandbox::{DirectAccess, Sandbox};
pub use skopeo::Skopeo;

/// An engine whose pulls take an account on the command line, and full names only
/// (`docker.io/library/alpine:latest`).
pub trait Engine {
    /// Pulls `image`. Returns the pulled image.
    fn pull(&self, image: &str, account: Option<Account<'_>>) -> Result<PulledImage>;

    /// Pulls `image`, which must fail. Returns the engine's stderr.
    fn pull_refused(&self, image: &str, account: Option<Account<'_>>) -> Result<String>;
}

/// Timeout of a pull. An engine that cannot reach a host may hang for longer.
const PULL_TIMEOUT: Duration = Duration::from_secs(120);

/// Timeout of a command that transfers nothing.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// An account at a registry.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The user name.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
}

impl Account<'_> {
    /// `USER:PASSWORD`, as engines take it on their command lines.
    fn credentials(self) -> String {
        format!("{}:{}", self.user, self.password)
    }
}
