//! Which of an image's platforms to take.
//!
//! By the rules of containerd's `platforms` package, less its 32-bit images on 64-bit ARM: that a
//! machine could run something else is no reason to fetch it unasked.

use crate::manifest::Descriptor;
use crate::text::CleanText;
use serde::{Deserialize, Deserializer, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// An operating system, a processor architecture, and perhaps its variant, by Go's names.
///
/// A manifest may say anything: what is read from one is cleaned and cut, so that it can be shown and
/// kept, and then is no platform that anybody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(deserialize_with = "word")]
    os: String,
    #[serde(deserialize_with = "word")]
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_word")]
    variant: Option<String>,
}

/// Most bytes of each of its words; the longest in use has twelve.
const WORD_CHARS_MAX: usize = 64;

/// Names of platforms that an error lists at most. An index of 4 MiB has tens of thousands.
const LISTED_NAMES_MAX: usize = 20;

/// Why there is no platform to take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not a platform.
    #[error("{0:?} is not a platform: OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64 or linux/arm/v7")]
    Malformed(String),
    /// The image isn't made for it.
    #[error("the image is not made for {wanted}, only for {offered}")]
    Missing {
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
}

impl Platform {
    /// Linux on this machine's processor.
    #[must_use]
    pub fn local() -> Self {
        Self { os: "linux".into(), architecture: go_name(std::env::consts::ARCH).into(), variant: None }
    }

    /// The entry of an index that serves this platform best, the first one of equals.
    ///
    /// # Errors
    /// Where none does.
    pub fn choose<'a>(&self, entries: &'a [Descriptor]) -> Result<&'a Descriptor, PlatformError> {
        let fitting = entries.iter().filter_map(|entry| {
            let fit = self.match_rank(entry.platform.as_ref()?)?;
            Some((fit, entry))
        });
        let best = fitting.min_by_key(|(fit, _)| Reverse(*fit));
        best.map(|(_, entry)| entry)
            .ok_or_else(|| PlatformError::Missing { wanted: self.to_string(), offered: in_words(entries) })
    }

    /// How well something made for `offered` runs here: more is better, `None` is not at all.
    /// Processors run what was made for their elders.
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

    /// The number of the variant, for architectures whose variants build on each other.
    fn level(&self) -> Option<u32> {
        let default = match &*self.architecture {
            "arm" => "v7",
            "arm64" => "v8",
            "amd64" => "v1",
            _ => return None,
        };
        let variant = self.variant.as_deref().unwrap_or(default);
        let number = variant.strip_prefix('v')?;
        number.split_once('.').map_or(number, |(major, _)| major).parse().ok()
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed(text.chars().take(80).collect());
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
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(malformed()),
        };
        Ok(Self { os: os.to_owned(), architecture: go_name(architecture).to_owned(), variant })
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

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(CleanText::<WORD_CHARS_MAX>::deserialize(deserializer)?.into())
}

fn optional_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<CleanText<WORD_CHARS_MAX>>::deserialize(deserializer)?.map(String::from))
}

/// On the wire, as people write it: with an optional field left out, as JSON has it, the frame could
/// not be read.
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

/// Images name architectures as Go does; the kernel and Rust have other names for some.
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

/// What an index has, for an error. Attestations go by `unknown/unknown` and are nobody's choice.
/// The platforms of an index for people: each once, and no more than anybody reads.
fn in_words(entries: &[Descriptor]) -> String {
    let mut names = BTreeSet::new();
    for platform in entries.iter().filter_map(|entry| entry.platform.as_ref()) {
        let name = platform.to_string();
        // A registry's text that is shown on a terminal.
        if platform.os != "unknown" && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            names.insert(name);
        }
        if names.len() > LISTED_NAMES_MAX {
            names.pop_last();
            return format!("{}, and others", names.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    if names.is_empty() {
        "nothing that it names".into()
    } else {
        names.into_iter().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let entry = |(n, text): (usize, &&str)| {
            let digest = format!("sha256:{n:064}");
            let json = serde_json::json!({
                "mediaType": "m", "digest": digest, "size": n, "platform": platform(text),
            });
            serde_json::from_value(json).unwrap()
        };
        platforms.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn the_best_of_what_runs_here_is_taken() {
        for (wanted, offered, expected) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
            ("linux/amd64", &["linux/amd64", "linux/amd64"], Some(0)),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/amd64", &["linux/amd64/v2", "linux/amd64/v1"], Some(1)),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
            ("linux/arm64", &["linux/arm64/v8"], Some(0)),
            ("linux/arm64/v8", &["linux/arm64"], Some(0)),
            ("linux/arm64", &["linux/arm/v7"], None),
            ("linux/arm64/v8.2", &["linux/arm64/v8", "linux/arm64/v9"], Some(0)),
            ("linux/arm", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], Some(2)),
            ("linux/arm", &["linux/arm"], Some(0)),
            ("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], Some(1)),
            ("linux/arm/v6", &["linux/arm"], None),
            ("linux/riscv64", &["linux/riscv64"], Some(0)),
            ("linux/mips64le/hardfloat", &["linux/mips64le"], None),
        ] {
            let entries = index(offered);
            let chosen = platform(wanted).choose(&entries).ok().map(|entry| entry.size as usize);
            assert_eq!(chosen, expected, "{wanted} of {offered:?}");
        }
    }

    #[test]
    fn a_missing_platform_is_told_with_those_that_there_are() {
        let entries = index(&["linux/amd64", "linux/arm/v7", "unknown/unknown", "linux/amd64"]);
        let error = platform("linux/s390x").choose(&entries).unwrap_err().to_string();
        assert!(error.contains("not made for linux/s390x, only for linux/amd64, linux/arm/v7"), "{error}");
    }

    #[test]
    fn an_error_lists_few_platforms_and_no_control_characters() {
        let names: Vec<String> = (0..1000).map(|n| format!("linux/cpu{n:03}")).collect();
        let mut entries = index(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let json = serde_json::json!({
            "mediaType": "m", "digest": format!("sha256:{:064}", 0), "size": 1,
            "platform": { "os": "a\u{1b}[2J", "architecture": "b\r\n" },
        });
        entries.insert(0, serde_json::from_value(json).unwrap());
        let error = platform("linux/s390x").choose(&entries).unwrap_err().to_string();
        assert!(error.ends_with("linux/cpu019, and others"), "{error}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn what_a_manifest_calls_a_platform_is_cleaned_and_cut() {
        let json = serde_json::json!({ "os": "li\u{1b}[2Jnux\r\n", "architecture": "a".repeat(1 << 20) });
        let odd: Platform = serde_json::from_value(json).unwrap();
        assert_eq!(odd.to_string(), format!("li [2Jnux/{}…", "a".repeat(63)));
        assert_eq!(odd.match_rank(&platform("linux/amd64")), None);
    }

    #[test]
    fn people_may_use_the_kernels_names() {
        assert_eq!(platform("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(platform("Linux/aarch64/V8").to_string(), "linux/arm64/v8");
        for text in ["", "linux", "linux/", "/arm", "linux/arm/v7/x", "linux/a m"] {
            assert_eq!(text.parse::<Platform>(), Err(PlatformError::Malformed(text.into())));
        }
    }
}
