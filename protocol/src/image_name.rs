//! An image's name as a user types it: `alpine`, `ghcr.io/owner/app:1.2`, `alpine@sha256:…`.
//!
//! Must follow the rules of the `docker` command line, so that the same names work here.

use crate::name::{NameError, Reference, Registry, Repository, Tag, split_registry};
use std::fmt;
use std::str::FromStr;

/// An image name with all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// The registry; Docker Hub if the name has none.
    pub registry: Registry,
    /// The repository, with `library/` for official images of Docker Hub.
    pub repository: Repository,
    /// The tag or digest; `latest` if the name has none. A digest takes precedence over a tag.
    pub reference: Reference,
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (registry, rest) = split_registry(text);
        let registry = registry.map_or_else(|| Ok(Registry::docker_hub()), str::parse)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (rest, None),
        };
        // The registry's port was split off, so another colon can only start a tag.
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag.parse::<Tag>()?)),
            None => (rest, None),
        };
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest.parse()?),
            (None, Some(tag)) => Reference::Tag(tag),
            (None, None) => "latest".parse()?,
        };
        Ok(Self { repository: name.parse::<Repository>()?.in_registry(&registry), registry, reference })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        write!(f, "{}/{}{separator}{}", self.registry, self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_read_as_docker_does() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, full) in [
            ("alpine", "docker.io/library/alpine:latest".to_owned()),
            ("alpine:3.19", "docker.io/library/alpine:3.19".to_owned()),
            ("owner/app", "docker.io/owner/app:latest".to_owned()),
            ("docker.io/alpine", "docker.io/library/alpine:latest".to_owned()),
            ("ghcr.io/owner/app:1", "ghcr.io/owner/app:1".to_owned()),
            ("host:5000/app:1", "host:5000/app:1".to_owned()),
            (&format!("alpine:3@{digest}"), format!("docker.io/library/alpine@{digest}")),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), full);
        }
        for text in ["", "Alpine", "alpine:", "alpine@sha256:1", "ghcr.io/", "https://ghcr.io/a", "a:b:c"] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
    }
}
