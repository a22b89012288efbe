//! What is pulled, and what is known of it before.
//! Must never share anything with what another turn pulls: that would not be cold.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use clap::ValueEnum;
use docxy_tests::hub::ImageSpec;
use serde::Serialize;

/// A kind of pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scenario {
    /// A small image with one layer that neither engine nor client nor server has ever seen
    Cold,
    /// The same image once more, with nothing changed
    #[value(name = "re-pull")]
    #[serde(rename = "re-pull")]
    RePull,
    /// A new image of 12 MiB in five layers, the link's rate being known
    FiveLayers,
}

impl Scenario {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Cold, Self::RePull, Self::FiveLayers];

    /// How the image is made whose number this is, among those that are pulled over a link of this length.
    pub(super) fn recipe(self, rtt: Duration, number: u64) -> ImageSpec {
        // Layers count up from an image's seed.
        let seed = (number << 32) | (rtt.as_millis() as u64) << 16;
        match self {
            Self::Cold | Self::RePull => ImageSpec { seed, layers: 1, len: 8000 },
            Self::FiveLayers => ImageSpec { seed, layers: 5, len: 12 << 20 },
        }
    }
}

impl Display for Scenario {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Cold => "cold",
            Self::RePull => "re-pull",
            Self::FiveLayers => "five layers",
        })
    }
}
