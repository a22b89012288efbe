//! `allow` and `deny`: the repositories that clients may read, by patterns.
//!
//! Must never accept a pattern that cannot match as it is written: the operator would rely on it.

use docxy_protocol::name::{Registry, Repository};
use globset::{GlobBuilder, GlobSet};
use serde::Deserialize;

/// The operator's rules. By default everything is allowed.
#[derive(Debug, Clone, Default)]
pub struct RepositoryRules {
    /// What is allowed; `None` is everything.
    pub(super) allow: Option<Patterns>,
    /// What is denied even if it is allowed.
    pub(super) deny: Option<Patterns>,
}

/// Patterns of `REGISTRY/REPOSITORY`; at least one. `*` and `?` stay within a part of the name, `**` does not.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct Patterns(GlobSet);

impl RepositoryRules {
    /// Whether clients may read this repository.
    #[must_use]
    pub fn may_read(&self, registry: &Registry, repository: &Repository) -> bool {
        let name = format!("{registry}/{}", repository.clone().in_registry(registry));
        let matches = |patterns: &Patterns| patterns.0.is_match(&name);
        self.allow.as_ref().is_none_or(matches) && !self.deny.as_ref().is_some_and(matches)
    }
}

impl TryFrom<Vec<String>> for Patterns {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        if texts.is_empty() {
            return Err("no pattern is listed; leave the key out to say nothing".into());
        }
        let mut set = GlobSet::builder();
        for text in texts {
            let pattern = with_registry(&text)?;
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(false).build();
            set.add(glob.map_err(|error| format!("{text:?} is not a pattern: {}", error.kind()))?);
        }
        set.build().map(Self).map_err(|error| error.to_string())
    }
}

/// The pattern, with its registry by the name that it is served under.
fn with_registry(text: &str) -> Result<String, String> {
    let example = "as in docker.io/library/* or ghcr.io/owner/**";
    let (host, rest) =
        text.split_once('/').ok_or_else(|| format!("{text:?} names no repository, {example}"))?;
    if rest.to_ascii_lowercase() != rest {
        return Err(format!("{text:?} matches nothing: names of repositories are in lower case"));
    }
    if host.contains(['*', '?', '[', '{']) {
        return Ok(text.to_owned());
    }
    let is_host = host == "localhost" || host.contains(['.', ':']);
    let registry = host.parse::<Registry>().ok().filter(|_| is_host);
    let registry = registry.ok_or_else(|| format!("{text:?} begins with no registry, {example}"))?;
    if registry.is_docker_hub() && !rest.contains(['/', '{']) && !rest.contains("**") {
        return Err(format!(
            "{text:?} matches nothing: names at Docker Hub have two parts, as in docker.io/library/alpine"
        ));
    }
    Ok(format!("{registry}/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Option<Patterns> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        (!texts.is_empty()).then(|| texts.try_into().unwrap())
    }

    #[test]
    fn what_is_allowed_and_not_denied_may_be_read() {
        let official = &["docker.io/library/*"][..];
        for (allow, deny, image, expected) in [
            (&[][..], &[][..], "docker.io/alice/app", true),
            (official, &[], "docker.io/library/alpine", true),
            // As a client could ask for it.
            (official, &[], "docker.io/alpine", true),
            (official, &[], "docker.io/alice/app", false),
            (official, &[], "ghcr.io/library/alpine", false),
            (official, &["index.docker.io/library/al*"], "docker.io/library/alpine", false),
            (&[], &["ghcr.io/owner/**"], "ghcr.io/owner/a/b", false),
            (&[], &["ghcr.io/owner/*"], "ghcr.io/owner/a/b", true),
            (&[], &["ghcr.io/owner/**"], "ghcr.io/owner", true),
            (&["*/owner/{a,b}"], &[], "quay.io/owner/b", true),
            (&["localhost:5000/**"], &[], "localhost:5000/a", true),
            // Whole registries.
            (&["ghcr.io/**"], &[], "ghcr.io/a/b/c", true),
            (&["ghcr.io/**"], &[], "quay.io/a/b", false),
            (&["ghcr.io/**", "quay.io/**"], &[], "quay.io/a/b", true),
            (&["docker.io/**"], &[], "docker.io/alpine", true),
            (&[], &["docker.io/**"], "docker.io/library/alpine", false),
            (&[], &["*/**"], "mcr.microsoft.com/a", false),
            (&["*.io/**"], &[], "ghcr.io/a/b", true),
            (&["*.io/**"], &[], "public.ecr.aws/a/b", false),
            (&["localhost:5000/**"], &[], "localhost:5001/a", false),
            // What is denied stays so, however exactly it is allowed.
            (&["ghcr.io/owner/app"], &["ghcr.io/**"], "ghcr.io/owner/app", false),
            (&["ghcr.io/**"], &["ghcr.io/owner/app"], "ghcr.io/owner/app", false),
            (&["ghcr.io/**"], &["ghcr.io/owner/app"], "ghcr.io/owner/app2", true),
            (&["ghcr.io/**"], &["ghcr.io/owner/app"], "ghcr.io/owner/app/more", true),
            (&["ghcr.io/owner/v?"], &[], "ghcr.io/owner/v1", true),
            (&["ghcr.io/owner/v?"], &[], "ghcr.io/owner/v10", false),
        ] {
            let rules = RepositoryRules { allow: patterns(allow), deny: patterns(deny) };
            let (registry, repository) = image.split_once('/').unwrap();
            let may = rules.may_read(&registry.parse().unwrap(), &repository.parse().unwrap());
            assert_eq!(may, expected, "{image} with {allow:?} and {deny:?}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_match_is_refused() {
        for (text, words) in [
            ("alpine", "names no repository"),
            ("library/*", "begins with no registry"),
            ("ghcr.io/Owner/*", "lower case"),
            ("docker.io/alpine", "two parts"),
            ("docker.io/*", "two parts"),
            ("ghcr.io/[a", "is not a pattern"),
        ] {
            let error = Patterns::try_from(vec![text.to_owned()]).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(Patterns::try_from(Vec::new()).is_err());
    }

    #[test]
    fn nothing_said_allows_everything_and_an_empty_list_is_no_way_to_say_nothing() {
        let allows = |rules: &RepositoryRules, image: &str| {
            let (registry, repository) = image.split_once('/').unwrap();
            rules.may_read(&registry.parse().unwrap(), &repository.parse().unwrap())
        };
        assert!(allows(&RepositoryRules::default(), "ghcr.io/a/b"));
        #[derive(Deserialize)]
        struct File {
            allow: Option<Patterns>,
            deny: Option<Patterns>,
        }
        let read = |text: &str| toml::from_str::<File>(text);
        let File { allow, deny } = read("allow = ['quay.io/**']\ndeny = ['quay.io/bad/*']").unwrap();
        let rules = RepositoryRules { allow, deny };
        assert_eq!(
            ["quay.io/a/b", "quay.io/bad/b", "ghcr.io/a/b"].map(|image| allows(&rules, image)),
            [true, false, false]
        );
        for text in ["allow = []", "deny = []", "allow = 'ghcr.io/**'", "deny = ['ghcr.io']"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
