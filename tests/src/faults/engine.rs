//! The engines of the fault ladder: they pull, report the image that they have, and whether they had to retry.
//! Must never accept a pull that an engine had to retry.

use std::{process::Command, str::FromStr};

use anyhow::Result;

use super::testbed::{ALICE, Repository};
use crate::{
    docxy::Client,
    engine::{Dockerd, Podman, PulledImage},
    net::Namespace,
};

/// The engine of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKind {
    /// Debian's dockerd.
    Docker,
    /// Debian's podman.
    Podman,
}

/// A new engine that has the client as its mirror.
pub(super) enum Engine {
    Docker(Dockerd),
    Podman(Podman),
}

impl EngineKind {
    /// Both engines.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// The name in tables and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|engine| engine.name() == text);
        found.ok_or_else(|| format!("no engine {text:?}: docker or podman"))
    }
}

impl Engine {
    pub(super) fn start(kind: EngineKind, namespace: &Namespace, client: &Client) -> Result<Self> {
        Ok(match kind {
            EngineKind::Docker => Self::Docker(Dockerd::start(namespace, &client.url())?),
            EngineKind::Podman => Self::Podman(Podman::new(namespace, &client.address().to_string())?),
        })
    }

    /// Stores the account that may pull the private image.
    pub(super) fn log_in(&self, client: &Client) -> Result<()> {
        match self {
            Self::Docker(docker) => docker.remember_hub_account(ALICE),
            Self::Podman(podman) => podman.login(&client.address().to_string(), ALICE).map(drop),
        }
    }

    /// The command that pulls.
    pub(super) fn pull(&self, repository: Repository) -> Command {
        let name = name(repository);
        match self {
            Self::Docker(docker) => docker.docker(&["pull", &name]),
            // At this level podman logs each retry.
            Self::Podman(podman) => podman.podman(&["--log-level=info", "pull", &name]),
        }
    }

    /// The image that the engine has.
    pub(super) fn pulled(&self, repository: Repository) -> Result<PulledImage> {
        let name = name(repository);
        match self {
            Self::Docker(docker) => docker.inspect(&name),
            Self::Podman(podman) => podman.inspect(&name),
        }
    }

    /// The log of its daemon, if it has one.
    pub(super) fn log(&mut self) -> String {
        match self {
            Self::Docker(docker) => docker.process().output(),
            Self::Podman(_) => String::new(),
        }
    }

    /// The first line in which the engine reports a retry of its own; `output` is the command's output.
    pub(super) fn retry_message(&mut self, output: &str) -> Option<String> {
        let signs: &[&str] = match self {
            Self::Docker(_) => &["Download failed", "Attempting next endpoint", "Retrying"],
            Self::Podman(_) => &["reconnecting", ", retrying in"],
        };
        let log = self.log();
        let complains = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        output.lines().chain(log.lines()).find(complains).map(str::to_owned)
    }
}

fn name(repository: Repository) -> String {
    format!("docker.io/{}:latest", repository.name())
}
