//! Debian's own engines, run for real in a namespace, one type each: started, told to pull, asked what they have.
//! Must never use an engine's state or configuration on this machine, nor know what is served to them.

mod containerd;
mod dockerd;
mod image;
mod podman;
mod registry;
mod sandbox;
mod skopeo;

use std::time::Duration;

use anyhow::Result;

pub use containerd::Containerd;
pub use dockerd::Dockerd;
pub use image::PulledImage;
pub use podman::Podman;
pub use registry::Registry;
pub use sandbox::{DirectAccess, Sandbox};
pub use skopeo::Skopeo;

/// An engine whose pulls take an account on their command line, and full names only (`docker.io/library/alpine:latest`).
pub trait Engine {
    /// Pulls `image`, and tells what it got.
    fn pull(&self, image: &str, account: Option<Account<'_>>) -> Result<PulledImage>;

    /// Pulls `image`, which it must not get, and tells how its user learns why.
    fn pull_refused(&self, image: &str, account: Option<Account<'_>>) -> Result<String>;
}

/// How long a pull may take: beyond it, an engine hangs on something that it cannot reach.
const PULL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long an engine's command may take that transfers nothing.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// An account at a registry.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
}

impl Account<'_> {
    /// As engines take it on their command lines.
    fn pair(self) -> String {
        format!("{}:{}", self.user, self.password)
    }
}
