//! The names of the OCI distribution spec: registry, repository, tag, digest and reference.
//!
//! The types hold only valid values, which are safe in a URL path. Nothing else must be put into one.

use crate::headers::DOCKER_CONTENT_DIGEST;
use crate::text::excerpt;
use derive_more::{Display, Into};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Why a name was rejected. The user sees the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name.
    #[error("{0:?} is not a repository name (lower-case parts joined by '/', at most 255 bytes)")]
    Repository(String),
    /// Not a tag.
    #[error("{0:?} is not a tag (at most 128 of the characters A-Z a-z 0-9 . _ -, not starting with . or -)")]
    Tag(String),
    /// Not a digest of a supported algorithm.
    #[error(
        "{0:?} is not a digest that docxy can verify (sha256, sha384 or sha512, and its lower-case hex digits)"
    )]
    Digest(String),
    /// Not a registry's host.
    #[error("{0:?} is not a registry host (like ghcr.io or registry.example.org:5000)")]
    Registry(String),
}

/// Defines a string newtype whose values all come from its parser, also those from the wire.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[derive(Display, derive_more::Debug, Into)]
        #[debug("{_0}")]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let parse: fn(&str) -> Option<String> = $parse;
                parse(text).map(Self).ok_or_else(|| NameError::$name(excerpt(text)))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
    };
}

name_type!(
    /// A registry: a host, with a port if it is not 443.
    ///
    /// Docker Hub's other names (`index.docker.io`, `registry-1.docker.io`) become `docker.io`.
    Registry,
    |text| {
        let lower = text.to_ascii_lowercase();
        let (host, port) = match lower.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (lower.as_str(), None),
        };
        let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n != 0 && n.to_string() == p));
        if !port_ok || !is_host(host) {
            return None;
        }
        let name = if port == Some("443") { host } else { &lower };
        Some(match name {
            "index.docker.io" | "registry-1.docker.io" => "docker.io".into(),
            name => name.to_owned(),
        })
    }
);

name_type!(
    /// A repository within a registry (distribution spec, "Pulling manifests", `<name>`).
    Repository,
    |text| {
        (text.len() <= 255 && text.split('/').all(is_path_component)).then(|| text.to_owned())
    }
);

name_type!(
    /// A tag (distribution spec, `<reference>` as a tag).
    Tag,
    |text| {
        let bytes = text.as_bytes();
        let ok = (1..=128).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
            && !b".-".contains(&bytes[0]);
        ok.then(|| text.to_owned())
    }
);

name_type!(
    /// A content digest (OCI image spec, "Digests"), of one of the algorithms that engines know and Docxy can
    /// verify: the registered ones, and SHA-384.
    Digest,
    |text| {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return None,
        };
        let ok = hex.len() == length
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ok.then(|| text.to_owned())
    }
);

impl Registry {
    /// Docker Hub, the default registry.
    #[must_use]
    pub fn docker_hub() -> Self {
        Self("docker.io".into())
    }

    /// The registries that most people use: a server without a list of its own serves them.
    pub fn well_known() -> impl Iterator<Item = Self> {
        [
            "docker.io",
            "ghcr.io",
            "quay.io",
            "gcr.io",
            "registry.k8s.io",
            "mcr.microsoft.com",
            "public.ecr.aws",
            "nvcr.io",
            "lscr.io",
            "docker.elastic.co",
            "registry.gitlab.com",
        ]
        .map(|name| Self(name.into()))
        .into_iter()
    }

    /// Whether this is Docker Hub.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == "docker.io"
    }
}

impl Repository {
    /// The repository with `library/` if it is an official image of Docker Hub. A name that would become
    /// too long with it stays unchanged; no official image has one.
    #[must_use]
    pub fn in_registry(self, registry: &Registry) -> Self {
        if registry.is_docker_hub() && !self.0.contains('/') {
            return format!("library/{self}").parse().unwrap_or(self);
        }
        self
    }
}

impl Digest {
    /// The digest that a response reports for its content.
    #[must_use]
    pub fn of_response(headers: &HeaderMap) -> Option<Self> {
        headers.get(&DOCKER_CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
    }

    /// The algorithm, like `sha256`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hash in lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }
}

/// A manifest's tag or digest within a repository.
#[derive(Clone, PartialEq, Eq, Hash, Display, derive_more::Debug, Serialize, Deserialize)]
pub enum Reference {
    /// A tag, which may move to another manifest.
    #[debug("{_0}")]
    Tag(Tag),
    /// A digest, whose content never changes.
    #[debug("{_0}")]
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // A digest has a colon and a tag has none.
        if text.contains(':') { text.parse().map(Self::Digest) } else { text.parse().map(Self::Tag) }
    }
}

/// Splits a leading registry host off a path. Like in all engines, the first part is a host if it contains
/// a dot or a colon, or is `localhost`.
#[must_use]
pub fn split_registry(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (Some(first), rest),
        _ => (None, path),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, without a regular expression engine.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(first)
        && alphanumeric(last)
        && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

/// A DNS name or an IPv4 address, in lower case.
fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Found by fuzzing.
    #[test]
    fn a_name_too_long_for_library_stays_unchanged() {
        for length in [247, 248, 255] {
            let name: Repository = "a".repeat(length).parse().unwrap();
            let stored = name.clone().in_registry(&Registry::docker_hub());
            assert_eq!(stored.as_str().parse::<Repository>().unwrap(), stored);
            assert_eq!(stored.as_str().starts_with("library/"), length == 247);
        }
    }

    fn accepts<T: FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?} should be accepted");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} should be rejected");
        }
    }

    #[test]
    fn repositories_follow_the_distribution_spec() {
        let long = "a".repeat(255);
        let too_long = "a".repeat(256);
        accepts::<Repository>(
            &["a", "library/alpine", "a.b/c_d/e__f/g-h/i---j", "0/1", &long],
            &[
                "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", ".", "..", "a/../b",
                "a b", "a%2fb", "é", &too_long,
            ],
        );
    }

    #[test]
    fn tags_and_digests_follow_the_spec() {
        let sha256 = format!("sha256:{}", "0a".repeat(32));
        let sha384 = format!("sha384:{}", "0a".repeat(48));
        let sha512 = format!("sha512:{}", "0a".repeat(64));
        let blake3 = format!("blake3:{}", "0a".repeat(32));
        let upper = format!("sha256:{}", "0A".repeat(32));
        let short = format!("sha256:{}", "0a".repeat(31));
        accepts::<Tag>(&["latest", "_", "3.19-alpine_X"], &["", ".a", "-a", "a/b", "a:b", &"a".repeat(129)]);
        accepts::<Digest>(
            &[&sha256, &sha384, &sha512],
            &["", "sha256:", "md5:00", &upper, &short, &blake3, &sha384.replace("384", "512")],
        );
        accepts::<Reference>(&["latest", &sha256], &["sha256:xyz", "a b"]);
    }

    #[test]
    fn registries_are_hosts_and_docker_hub_has_one_name() {
        accepts::<Registry>(
            &["ghcr.io", "registry.example.org:5000", "localhost:5000", "10.0.0.1", "GHCR.IO"],
            &[
                "",
                "a/b",
                "user@host",
                "host:",
                "host:0",
                "host:99999",
                "host:080",
                "-a.b",
                "a..b",
                "[::1]",
                "a b",
                "a?b",
                "a#b",
            ],
        );
        assert_eq!("GHCR.io:443".parse::<Registry>().unwrap().as_str(), "ghcr.io");
        for name in ["docker.io", "index.docker.io", "registry-1.docker.io:443", "Docker.IO"] {
            assert!(name.parse::<Registry>().unwrap().is_docker_hub(), "{name}");
        }
    }

    #[test]
    fn official_images_are_under_library_only_on_docker_hub() {
        let alpine: Repository = "alpine".parse().unwrap();
        assert_eq!(alpine.clone().in_registry(&Registry::docker_hub()).as_str(), "library/alpine");
        assert_eq!(alpine.in_registry(&"quay.io".parse().unwrap()).as_str(), "alpine");
    }

    #[test]
    fn a_first_part_with_a_dot_or_colon_is_a_registry() {
        assert_eq!(split_registry("ghcr.io/a/b"), (Some("ghcr.io"), "a/b"));
        assert_eq!(split_registry("localhost/a"), (Some("localhost"), "a"));
        assert_eq!(split_registry("library/alpine"), (None, "library/alpine"));
        assert_eq!(split_registry("alpine"), (None, "alpine"));
        assert_eq!(split_registry("a.b"), (None, "a.b"));
    }

    proptest! {
        /// An accepted name cannot change the rest of a URL path.
        #[test]
        fn accepted_names_are_safe_in_a_path(text in "[ -~]{0,40}") {
            let safe = |s: &str| s.split('/').all(|p| !p.is_empty() && p != "." && p != "..")
                && !s.contains(['?', '#', '%', '\\', ' ', '@']);
            if let Ok(name) = text.parse::<Repository>() { prop_assert!(safe(name.as_str())); }
            if let Ok(name) = text.parse::<Reference>() { prop_assert!(safe(&name.to_string())); }
            if let Ok(name) = text.parse::<Registry>() { prop_assert!(safe(name.as_str())); }
        }
    }
}
