//! The testbed that all pulls share: the namespaces, Docker Hub's stand-in, and the images.
//! Must never let the laptop reach anything but the server, nor the server on another path than the link.

use anyhow::Result;
use hub_stand_in::{Digest, Image, Listen, seed_for_repository};

use super::Fault;

use crate::{
    engine::{Account, PulledImage},
    net::Lab,
    stand_in::StandIn,
};

/// The account of the private image.
pub(super) const ALICE: Account<'static> = Account { user: "alice", password: "wonderland" };

/// The repository of an image. Both images have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repository {
    Public,
    Private,
}

/// Sizes and durations.
#[derive(Clone, Copy, Debug)]
pub struct TestbedOptions {
    /// Size of the image, in MiB.
    pub mib: u64,
    /// Whether outages and restarts are shorter, for tests.
    pub short_delays: bool,
}

/// Everything but the link, the client and the server. Drop order: the lab last.
pub struct Testbed {
    pub(super) hub: StandIn,
    pub(super) lab: Lab,
    pub(super) options: TestbedOptions,
    contents: [Content; 2],
}

/// An image to pull.
pub(super) struct Content {
    pub(super) repository: Repository,
    pub(super) expected: PulledImage,
    /// Digest and length of each layer, bottom first.
    pub(super) layers: Vec<(Digest, u64)>,
    /// The bytes that have to cross the link.
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
    /// A new testbed. Needs root and the engines.
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

    pub(super) fn content(&self, fault: Fault) -> &Content {
        let [public, private] = &self.contents;
        if fault == Fault::ExpiredToken { private } else { public }
    }
}

impl Content {
    fn new(hub: &StandIn, repository: Repository, options: TestbedOptions) -> Result<Self> {
        let image = Image::four_layers(seed_for_repository(repository.name()), options.mib << 20)?;
        let platform = image.platform("amd64").expect("every image has amd64");
        let layers: Vec<_> =
            platform.layers.iter().map(|layer| (layer.blob.digest().clone(), layer.blob.len())).collect();
        let bytes = layers.iter().map(|(_, length)| length).sum::<u64>() + platform.config.len();
        Ok(Self { repository, expected: hub.expected(repository.name(), &image)?, layers, bytes })
    }
}
