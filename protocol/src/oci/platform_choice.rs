//! Chooses the image of an index for a platform.
//!
//! Must never choose an image that does not run there.

use crate::manifest::Descriptor;
use crate::platform::{Platform, PlatformError};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Platforms that an error lists, at most. An index of 4 MiB can have tens of thousands.
const LISTED_NAMES_MAX: usize = 20;

impl Platform {
    /// The entry of an index that matches this platform best; the first of equal ones.
    ///
    /// # Errors
    /// If none matches.
    pub fn choose<'a>(&self, entries: &'a [Descriptor]) -> Result<&'a Descriptor, PlatformError> {
        let matching = entries.iter().filter_map(|entry| {
            let rank = self.match_rank(entry.platform.as_ref()?)?;
            Some((rank, entry))
        });
        let best = matching.min_by_key(|(rank, _)| Reverse(*rank));
        best.map(|(_, entry)| entry).ok_or_else(|| PlatformError::Missing {
            wanted: self.to_string(),
            offered: list_platforms(entries),
        })
    }
}

/// The platforms of an index for an error: each once, at most [`LISTED_NAMES_MAX`], without attestations,
/// whose platform is `unknown/unknown`.
fn list_platforms(entries: &[Descriptor]) -> String {
    let mut names = BTreeSet::new();
    for platform in entries.iter().filter_map(|entry| entry.platform.as_ref()) {
        let name = platform.to_string();
        // Only visible ASCII: the text comes from a registry, and a terminal displays it.
        if !name.starts_with("unknown/") && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            names.insert(name);
        }
        if names.len() > LISTED_NAMES_MAX {
            names.pop_last();
            return format!("{}, and others", names.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    if names.is_empty() {
        "platforms that it does not name".into()
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
    fn the_best_matching_image_is_chosen() {
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
    fn the_error_for_a_missing_platform_lists_those_that_exist() {
        let entries = index(&["linux/amd64", "linux/arm/v7", "unknown/unknown", "linux/amd64"]);
        let error = platform("linux/s390x").choose(&entries).unwrap_err().to_string();
        assert!(error.contains("no image for linux/s390x, only for linux/amd64, linux/arm/v7"), "{error}");
    }

    #[test]
    fn an_error_lists_few_platforms_without_control_characters() {
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
}
