//! The engines of the ladder: told to pull, asked what they have, and whether they noticed anything.
//! Must never take a pull for good that an engine had to begin again by itself.

use std::{process::Command, str::FromStr};

use anyhow::Result;

use super::testbed::{ALICE, Repository};
use crate::{
    docxy::Client,
    engine::{Dockerd, Podman, PulledImage},
    net::Namespace,
};

/// Which engine pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKind {
    /// Debian's dockerd.
    Docker,
    /// Debian's podman.
    Podman,
}

/// An engine that is new, and has the client for a mirror.
pub(super) enum Engine {
    Docker(Dockerd),
    Podman(Podman),
}

impl EngineKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// What it is called in tables and options.
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

    /// Gives it the account that may pull a private image.
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
            // Talkative enough to say when it has to begin something again.
            Self::Podman(podman) => podman.podman(&["--log-level=info", "pull", &name]),
        }
    }

    /// What it has.
    pub(super) fn pulled(&self, repository: Repository) -> Result<PulledImage> {
        let name = name(repository);
        match self {
            Self::Docker(docker) => docker.inspect(&name),
            Self::Podman(podman) => podman.inspect(&name),
        }
    }

    /// What its daemon has logged, if it has one.
    pub(super) fn log(&mut self) -> String {
        match self {
            Self::Docker(docker) => docker.process().log(),
            Self::Podman(_) => String::new(),
        }
    }

    /// A line by which it tells that something went wrong which it got over by itself; `said` is what the command said.
    pub(super) fn retry_message(&mut self, said: &str) -> Option<String> {
        let signs: &[&str] = match self {
            Self::Docker(_) => &["Download failed", "Attempting next endpoint", "Retrying"],
            Self::Podman(_) => &["reconnecting", ", retrying in"],
        };
        let log = self.log();
        let complains = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        said.lines().chain(log.lines()).find(complains).map(str::to_owned)
    }
}

fn name(repository: Repository) -> String {
    format!("docker.io/{}:latest", repository.name())
}
