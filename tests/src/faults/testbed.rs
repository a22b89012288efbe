//! What stays while pulls take turns: the namespaces, Docker Hub's stand-in, and the image.
//! Must never let the laptop reach anything but the server, and that only over the link.

use anyhow::Result;

use super::{
    EngineKind, Fault,
    run::{FaultRun, Outcome},
};
use crate::{
    engine::{Account, PulledImage},
    hub::{Digest, Image, Listen, seed_for_repository},
    net::Lab,
    stand_in::StandIn,
};

/// Whose the private image is.
pub(super) const ALICE: Account<'static> = Account { user: "alice", password: "wonderland" };

/// Where an image lies. Both have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repository {
    Public,
    Private,
}

/// How large things are, and how long they last.
#[derive(Clone, Copy, Debug)]
pub struct TestbedOptions {
    /// Size of the image, in MiB.
    pub mib: u64,
    /// Whether what takes its time is shortened: for tests that have little of it.
    pub short_delays: bool,
}

/// Everything between an engine and Docker Hub but the link, the client and the server. Dropped in this order: the lab
/// last.
pub struct Testbed {
    pub(super) hub: StandIn,
    pub(super) lab: Lab,
    pub(super) options: TestbedOptions,
    contents: [Content; 2],
}

/// What there is to pull.
pub(super) struct Content {
    pub(super) repository: Repository,
    pub(super) expected: PulledImage,
    /// Digest and length of each layer, bottom first.
    pub(super) layers: Vec<(Digest, u64)>,
    /// What has to cross the link.
    pub(super) bytes: u64,
}

impl Repository {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Public => "faults/public",
            Self::Private => "faults/private",
        }
    }
}

impl Testbed {
    /// A new one. Needs root and the engines.
    pub fn new(options: TestbedOptions) -> Result<Self> {
        let lab = Lab::new()?;
        let [public, private] = [Repository::Public, Repository::Private];
        let content = [public, private]
            .map(|repository| format!("--four-layer-image={}:{}MiB", repository.name(), options.mib));
        let lock = format!("--lock={}", private.name());
        let account = format!("--account={}:{}", ALICE.user, ALICE.password);
        let pulls = "--anonymous-pulls=1000000";
        let hub = StandIn::start(
            Some(&lab.hub),
            Listen::on(Lab::HUB),
            &[&content[0], &content[1], &account, &lock, pulls],
        )?;
        let contents = [Content::new(&hub, public, options)?, Content::new(&hub, private, options)?];
        Ok(Self { hub, lab, options, contents })
    }

    /// One pull, while this goes wrong.
    pub fn run(&self, fault: Fault, engine: EngineKind, seed: u64) -> Outcome {
        match FaultRun::new(self, fault, engine, seed) {
            Ok(run) => run.run(),
            Err(error) => Outcome::failed(&error.context("there is nothing to pull by"), Vec::new()),
        }
    }

    pub(super) fn content(&self, fault: Fault) -> &Content {
        let [public, private] = &self.contents;
        if fault == Fault::ExpiredToken { private } else { public }
    }
}

impl Content {
    fn new(hub: &StandIn, repository: Repository, options: TestbedOptions) -> Result<Self> {
        let image = Image::four_layers(seed_for_repository(repository.name()), options.mib << 20)?;
        let ours = image.platform("amd64").expect("every image has amd64");
        let layers: Vec<_> =
            ours.layers.iter().map(|layer| (layer.blob.digest().clone(), layer.blob.len())).collect();
        let bytes = layers.iter().map(|(_, length)| length).sum::<u64>() + ours.config.len();
        Ok(Self { repository, expected: hub.expected(repository.name(), &image)?, layers, bytes })
    }
}
