//! The scenarios: what is pulled, and what is cached before.
//! Must never share content between turns: a shared layer would be cached.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use clap::ValueEnum;
use hub_stand_in::ImageSpec;
use serde::Serialize;

/// A kind of pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scenario {
    /// A small image with one layer that is in no cache
    Cold,
    /// The same image again, unchanged
    #[value(name = "re-pull")]
    #[serde(rename = "re-pull")]
    RePull,
    /// A new image of 12 MiB in five layers, with a known link rate
    FiveLayers,
}

impl Scenario {
    /// All scenarios.
    pub(super) const ALL: [Self; 3] = [Self::Cold, Self::RePull, Self::FiveLayers];

    /// The image with this number, among those that are pulled over a link with this round-trip time.
    pub(super) fn image_spec(self, rtt: Duration, number: u64) -> ImageSpec {
        // The seeds of layers count up from the image's seed.
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
