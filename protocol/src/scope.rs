//! Token scopes (distribution's "Token Scope Documentation"): `repository:library/alpine:pull`.
//!
//! A scope is what names the registry of a token request, so it is parsed and never passed on as
//! text where it names a repository.

use crate::name::{NameError, Registry, Repository, split_registry};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a scope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not `type:name:actions`.
    #[error("{0:?} is not a token scope (like repository:library/alpine:pull)")]
    Malformed(String),
    /// The name in it is not one.
    #[error("the scope's name: {0}")]
    Name(#[from] NameError),
}

/// What a token is to allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Actions on one repository.
    Repository {
        /// Which one, without its registry.
        repository: Repository,
        /// `pull`, `push`, … as they came.
        actions: Actions,
    },
    /// Anything else, such as `registry:catalog:*`.
    Other(OtherScope),
}

impl Scope {
    /// Pulling from a repository.
    #[must_use]
    pub fn pull(repository: Repository) -> Self {
        Self::Repository { repository, actions: Actions("pull".into()) }
    }

    /// Reads a scope as an engine sends it, and the registry that it names, if it does:
    /// engines that dial us by address put the registry into the name.
    ///
    /// # Errors
    /// Where the text is no scope or its name no repository.
    pub fn parse(text: &str) -> Result<(Option<Registry>, Self), ScopeError> {
        let malformed = || ScopeError::Malformed(text.chars().take(80).collect());
        let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
        // From the right: the name may hold a registry's port.
        let (name, actions) = rest.rsplit_once(':').ok_or_else(malformed)?;
        if kind != "repository" {
            return Ok((None, Self::Other(OtherScope::try_from(text.to_owned())?)));
        }
        let (registry, name) = split_registry(name);
        let registry = registry.map(str::parse::<Registry>).transpose()?;
        let repository = name.parse()?;
        Ok((registry, Self::Repository { repository, actions: Actions::try_from(actions.to_owned())? }))
    }

    /// The same scope as the registry knows it.
    #[must_use]
    pub fn in_registry(self, registry: &Registry) -> Self {
        match self {
            Self::Repository { repository, actions } => {
                Self::Repository { repository: repository.in_registry(registry), actions }
            }
            other @ Self::Other(_) => other,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { repository, actions } => write!(f, "repository:{repository}:{}", actions.0),
            Self::Other(text) => f.write_str(&text.0),
        }
    }
}

/// A comma-separated list of actions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Actions(String);

impl TryFrom<String> for Actions {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        let ok = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b"*,".contains(&b));
        if ok { Ok(Self(text)) } else { Err(ScopeError::Malformed(text.chars().take(80).collect())) }
    }
}

/// A scope that names no repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct OtherScope(String);

impl TryFrom<String> for OtherScope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        let ok = text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic());
        if ok { Ok(Self(text)) } else { Err(ScopeError::Malformed(text.chars().take(80).collect())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_its_registry_where_the_engine_dialled_us_by_address() {
        for (text, registry, again) in [
            ("repository:library/alpine:pull", None, "repository:library/alpine:pull"),
            ("repository:ghcr.io/owner/app:pull,push", Some("ghcr.io"), "repository:owner/app:pull,push"),
            ("repository:host:5000/app:pull", Some("host:5000"), "repository:app:pull"),
            ("registry:catalog:*", None, "registry:catalog:*"),
            ("repository:a:", None, "repository:a:"),
        ] {
            let (named, scope) = Scope::parse(text).unwrap();
            assert_eq!(named.map(String::from).as_deref(), registry, "{text}");
            assert_eq!(scope.to_string(), again);
        }
        for text in ["", "repository", "repository:a", "repository:A:pull", "repository:a:p ll", "x:\n:y"] {
            assert!(Scope::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_official_image_is_asked_for_under_library() {
        let (_, scope) = Scope::parse("repository:alpine:pull").unwrap();
        assert_eq!(scope.in_registry(&Registry::docker_hub()).to_string(), "repository:library/alpine:pull");
    }
}
