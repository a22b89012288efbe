//! A platform that an image is made for, and how well it runs on another one.
//!
//! Follows the rules of containerd's `platforms` package, but must never match a 32-bit image with 64-bit
//! ARM: the user did not request it.

use crate::text::{CleanText, excerpt};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An operating system, a processor architecture and an optional variant, with Go's names.
///
/// A manifest can contain any text: it is cleaned and cut when decoded, so that it can be displayed and
/// cached, and then matches no platform that a user can request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    os: CleanText<WORD_CHARS_MAX>,
    architecture: CleanText<WORD_CHARS_MAX>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<CleanText<WORD_CHARS_MAX>>,
}

/// Characters of OS, architecture and variant each, at most; the longest in use has twelve.
const WORD_CHARS_MAX: usize = 64;

/// Why no platform was chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not a platform.
    #[error("{0:?} is not a platform: OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64 or linux/arm/v7")]
    Malformed(String),
    /// The index has no image for it.
    #[error("there is no image for {wanted}, only for {offered}")]
    Missing {
        /// The requested platform.
        wanted: String,
        /// The platforms of the index.
        offered: String,
    },
}

impl Platform {
    /// Linux on this machine's architecture.
    #[must_use]
    pub fn local() -> Self {
        Self { os: "linux".into(), architecture: go_name(std::env::consts::ARCH).into(), variant: None }
    }

    /// How well an image for `offered` matches: a higher rank is better, `None` is no match. A processor
    /// also runs images for lower variants.
    #[must_use]
    pub fn match_rank(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        match (self.level(), offered.level()) {
            (Some(ours), Some(theirs)) => (theirs <= ours).then_some(theirs),
            _ => (self.variant == offered.variant).then_some(0),
        }
    }

    /// The number of the variant, for architectures whose variants are ordered.
    fn level(&self) -> Option<u32> {
        let default = match self.architecture.as_str() {
            "arm" => "v7",
            "arm64" => "v8",
            "amd64" => "v1",
            _ => return None,
        };
        let variant = self.variant.as_ref().map_or(default, CleanText::as_str);
        let number = variant.strip_prefix('v')?;
        number.split_once('.').map_or(number, |(major, _)| major).parse().ok()
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed(excerpt(text));
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let is_word = |part: &&str| {
            (1..=WORD_CHARS_MAX).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(is_word) {
            return Err(malformed());
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.into())),
            _ => return Err(malformed()),
        };
        Ok(Self { os: os.into(), architecture: go_name(architecture).into(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// On the wire, a platform is text: JSON leaves out the optional variant, and bincode could not decode
/// that.
pub(crate) mod text {
    use super::Platform;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(platform: &Platform, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(platform)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Images use Go's names for architectures; the kernel and Rust have other names for some.
fn go_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" => "386",
        "powerpc64le" | "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_platform_from_a_manifest_is_cleaned_and_cut() {
        let json = serde_json::json!({ "os": "li\u{1b}[2Jnux\r\n", "architecture": "a".repeat(1 << 20) });
        let odd: Platform = serde_json::from_value(json).unwrap();
        assert_eq!(odd.to_string(), format!("li [2Jnux/{}…", "a".repeat(63)));
        assert_eq!(odd.match_rank(&platform("linux/amd64")), None);
    }

    #[test]
    fn the_kernels_names_are_accepted() {
        assert_eq!(platform("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(platform("Linux/aarch64/V8").to_string(), "linux/arm64/v8");
        for text in ["", "linux", "linux/", "/arm", "linux/arm/v7/x", "linux/a m"] {
            assert_eq!(text.parse::<Platform>(), Err(PlatformError::Malformed(text.into())));
        }
    }
}
