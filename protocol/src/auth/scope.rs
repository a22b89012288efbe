//! Token scopes (distribution's "Token Scope Documentation"): `repository:library/alpine:pull`.
//!
//! Some registries use words of their own (`aws`, `*`): RFC 6749, section 3.3, allows any. They are passed on. A
//! scope that names a repository must never be forwarded as unparsed text, even if it comes from the other side
//! of the tunnel. [`Scope::cut_to_pull`] removes every right except pulling from the scope of a
//! token request, and [`confine`] limits the scopes of a challenge to the requested repository.

use crate::name::{NameError, Registry, Repository, split_registry};
use crate::text::excerpt;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of a scope that names a repository.
const REPOSITORY: &str = "repository";

/// Limit for the scopes in a confined challenge. Registries send one or two. Confining can lengthen each
/// scope, so without this limit a long list could become much longer.
const SCOPES_MAX: usize = 16;

/// Why a scope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The text resembles a scope for a repository and is none, or it is too long or not printable.
    #[error("{0:?} is not a token scope (like repository:library/alpine:pull)")]
    Malformed(String),
    /// The name is invalid.
    #[error("the name in the scope: {0}")]
    Name(#[from] NameError),
}

/// The rights that a token grants on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireScope", into = "WireScope")]
pub enum Scope {
    /// Actions on one repository.
    Repository {
        /// The class of the repository, if the scope has one: `plugin` in `repository(plugin):a/b:pull`.
        class: Option<Class>,
        /// The repository, without its registry.
        repository: Repository,
        /// The requested actions: `pull`, `push`, …
        actions: Actions,
    },
    /// A scope of another type, such as `registry:catalog:*`, or a word of a registry's own, such as `aws`.
    Other(OtherScope),
}

impl Scope {
    /// Pulling from a repository.
    #[must_use]
    pub fn pull(repository: Repository) -> Self {
        Self::Repository { class: None, repository, actions: Actions::pull() }
    }

    /// Parses a scope that an engine sent, and the registry in it, if any: engines that use Docxy's
    /// address in image names put the registry into the scope's name.
    ///
    /// # Errors
    /// If the text is not a scope or its name is not a repository.
    pub fn parse(text: &str) -> Result<(Option<Registry>, Self), ScopeError> {
        let Some(RepositoryParts { class, name, actions }) = RepositoryParts::parse(text)? else {
            return Ok((None, Self::Other(OtherScope::try_from(text.to_owned())?)));
        };
        let (registry, name) = split_registry(name);
        let registry = registry.map(str::parse::<Registry>).transpose()?;
        Ok((
            registry,
            Self::Repository { class, repository: name.parse()?, actions: actions.to_owned().try_into()? },
        ))
    }

    /// The repository that the scope is for.
    #[must_use]
    pub const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Repository { repository, .. } => Some(repository),
            Self::Other(_) => None,
        }
    }

    /// The scope with the repository's full name in this registry (Docker Hub: `library/alpine`).
    #[must_use]
    pub fn in_registry(self, registry: &Registry) -> Self {
        match self {
            Self::Repository { class, repository, actions } => {
                Self::Repository { class, repository: repository.in_registry(registry), actions }
            }
            other @ Self::Other(_) => other,
        }
    }

    /// Reduces the scope to pulling; `None` if nothing remains. Docxy serves neither push nor deletion nor
    /// the catalogue, so a repository's actions become `pull` (if they include `pull` or `*`), and a scope
    /// of type `registry` is dropped. Scopes of other types stay unchanged.
    #[must_use]
    pub fn cut_to_pull(self) -> Option<Self> {
        match self {
            Self::Repository { class, repository, actions } => {
                let pull = Actions::pull();
                actions.include_pull().then_some(Self::Repository { class, repository, actions: pull })
            }
            Self::Other(scope) => (!scope.names_registry()).then_some(Self::Other(scope)),
        }
    }
}

/// Limits the `scope` parameter of a challenge to pulling from `repository`: the one that the engine
/// requested, spelled as the engine spells it. `None` if the request named no repository.
///
/// Engines request a token with the scopes of the challenge, so a registry could make them request one for
/// a repository of another registry, or for push. Every scope that names a repository is changed to name
/// the requested one and to allow `pull` only. A word of a registry's own, such as `aws`, names no repository
/// and stays. Words that cannot be parsed are dropped.
///
/// Returns `None` if nothing remains.
#[must_use]
pub fn confine(scopes: &str, repository: Option<&str>) -> Option<String> {
    let mut confined: Vec<String> = Vec::new();
    for word in scopes.split(' ').filter(|word| !word.is_empty()) {
        confined.extend(confine_scope(word, repository).filter(|scope| !confined.contains(scope)));
        if confined.len() == SCOPES_MAX {
            break;
        }
    }
    (!confined.is_empty()).then(|| confined.join(" "))
}

fn confine_scope(scope: &str, repository: Option<&str>) -> Option<String> {
    let (_, scope) = Scope::parse(scope).ok()?;
    match scope.cut_to_pull()? {
        Scope::Repository { class, actions, .. } => {
            Some(repository_scope(class.as_ref(), repository?, &actions))
        }
        Scope::Other(scope) => Some(scope.0),
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { class, repository, actions } => {
                f.write_str(&repository_scope(class.as_ref(), repository, actions))
            }
            Self::Other(text) => f.write_str(&text.0),
        }
    }
}

/// The wire format of a scope. A scope with a class is sent as text.
#[derive(Serialize, Deserialize)]
enum WireScope {
    Repository { repository: Repository, actions: Actions },
    Other(String),
}

impl From<Scope> for WireScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Repository { class: None, repository, actions } => {
                Self::Repository { repository, actions }
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl TryFrom<WireScope> for Scope {
    type Error = ScopeError;

    fn try_from(scope: WireScope) -> Result<Self, ScopeError> {
        let text = match scope {
            WireScope::Repository { repository, actions } => {
                return Ok(Self::Repository { class: None, repository, actions });
            }
            WireScope::Other(text) => text,
        };
        // Text that names a repository is parsed as such, so that a peer cannot hide push in it.
        match RepositoryParts::parse(&text)? {
            Some(RepositoryParts { class, name, actions }) => Ok(Self::Repository {
                class,
                repository: name.parse()?,
                actions: actions.to_owned().try_into()?,
            }),
            None => OtherScope::try_from(text).map(Self::Other),
        }
    }
}

/// `repository:name:actions`, or `repository(class):name:actions`.
struct RepositoryParts<'a> {
    class: Option<Class>,
    name: &'a str,
    actions: &'a str,
}

impl<'a> RepositoryParts<'a> {
    /// `None` for a scope of another type. Text that resembles `repository`, such as `Repository`, is an error: a
    /// token service could accept it as that.
    fn parse(text: &'a str) -> Result<Option<Self>, ScopeError> {
        let is_similar =
            text.get(..REPOSITORY.len()).is_some_and(|start| start.eq_ignore_ascii_case(REPOSITORY));
        if !is_similar {
            return Ok(None);
        }
        let parts = || {
            let (kind, rest) = text.strip_prefix(REPOSITORY)?.split_once(':')?;
            let class = match kind {
                "" => None,
                class => Some(Class::parse(class.strip_prefix('(')?.strip_suffix(')')?)?),
            };
            // Split from the right, because the name may contain a registry's port.
            let (name, actions) = rest.rsplit_once(':')?;
            Some(Self { class, name, actions })
        };
        parts().map(Some).ok_or_else(|| ScopeError::Malformed(excerpt(text)))
    }
}

/// The scope's text for a repository that is spelled like this.
fn repository_scope(class: Option<&Class>, repository: impl fmt::Display, actions: &Actions) -> String {
    let class = class.map(|Class(class)| format!("({class})")).unwrap_or_default();
    format!("{REPOSITORY}{class}:{repository}:{}", actions.0)
}

/// The class of a repository, such as `plugin`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Class(String);

impl Class {
    fn parse(text: &str) -> Option<Self> {
        let is_valid = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        is_valid.then(|| Self(text.to_owned()))
    }
}

/// A comma-separated list of actions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Actions(String);

impl Actions {
    fn pull() -> Self {
        Self("pull".into())
    }

    fn include_pull(&self) -> bool {
        self.0.split(',').any(|action| action == "pull" || action == "*")
    }
}

impl TryFrom<String> for Actions {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        let is_valid = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b"*,".contains(&b));
        if is_valid { Ok(Self(text)) } else { Err(ScopeError::Malformed(excerpt(&text))) }
    }
}

/// A scope that names no repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OtherScope(String);

impl OtherScope {
    /// Whether the type is `registry`, in any spelling that a token service could accept as that.
    fn names_registry(&self) -> bool {
        let kind = self.0.split([':', '(']).next().unwrap_or_default();
        kind.eq_ignore_ascii_case("registry")
    }
}

impl TryFrom<String> for OtherScope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        let is_valid = (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if is_valid { Ok(Self(text)) } else { Err(ScopeError::Malformed(excerpt(&text))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_in_front_of_the_repository_is_split_off() {
        for (text, registry, expected) in [
            ("repository:library/alpine:pull", None, "repository:library/alpine:pull"),
            ("repository:ghcr.io/owner/app:pull,push", Some("ghcr.io"), "repository:owner/app:pull,push"),
            ("repository:host:5000/app:pull", Some("host:5000"), "repository:app:pull"),
            ("registry:catalog:*", None, "registry:catalog:*"),
            ("repository:a:", None, "repository:a:"),
        ] {
            let (named, scope) = Scope::parse(text).unwrap();
            assert_eq!(named.map(String::from).as_deref(), registry, "{text}");
            assert_eq!(scope.to_string(), expected);
        }
        for text in ["", "repository", "repository:a", "repository:A:pull", "repository:a:p ll", "x:\n:y"] {
            assert!(Scope::parse(text).is_err(), "{text:?}");
        }
        assert!(Scope::parse(&"x".repeat(257)).is_err());
    }

    #[test]
    fn a_word_of_a_registrys_own_stays_as_it_is() {
        for text in ["aws", "*", "a:b", "::", "https://a.example/scope.read", "pull,push"] {
            let (registry, scope) = Scope::parse(text).unwrap();
            assert_eq!((registry, scope.to_string().as_str()), (None, text));
            assert_eq!(scope.cut_to_pull().map(|scope| scope.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_type_that_resembles_repository_is_parsed_or_refused() {
        let (_, scope) = Scope::parse("repository(plugin):ghcr.io/a/b:pull,push").unwrap();
        assert!(matches!(scope, Scope::Repository { class: Some(_), .. }));
        assert_eq!(scope.to_string(), "repository(plugin):a/b:pull,push");
        for text in [
            "Repository:a/b:pull",
            "REPOSITORY:a/b:push",
            "repository2:a/b:push",
            "repository():a/b:pull",
            "repository(plugin:a/b:pull",
            "repository(a b):a/b:pull",
            "repository (plugin):a/b:pull",
        ] {
            assert!(Scope::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_is_cut_to_pull() {
        for (text, cut) in [
            ("repository:a/b:pull", Some("repository:a/b:pull")),
            ("repository:a/b:push,pull,delete", Some("repository:a/b:pull")),
            ("repository:a/b:*", Some("repository:a/b:pull")),
            ("repository(plugin):a/b:pull,push", Some("repository(plugin):a/b:pull")),
            ("repository:a/b:push", None),
            ("repository:a/b:pullpush", None),
            ("repository:a/b:", None),
            ("registry:catalog:*", None),
            ("reGistry:catalog:*", None),
            ("registry(x):catalog:*", None),
            ("other:thing:read", Some("other:thing:read")),
        ] {
            let (_, scope) = Scope::parse(text).unwrap();
            assert_eq!(scope.cut_to_pull().map(|scope| scope.to_string()).as_deref(), cut, "{text}");
        }
    }

    #[test]
    fn confine_allows_pulling_from_the_requested_repository_only() {
        for (scopes, expected) in [
            ("repository:x/y:pull", Some("repository:x/y:pull")),
            ("repository:alice/private:pull,push", Some("repository:x/y:pull")),
            ("repository:x/y:pull repository:alice/private:pull", Some("repository:x/y:pull")),
            ("repository:evil.example/x/y:pull", Some("repository:x/y:pull")),
            ("repository:host:5000/x/y:*", Some("repository:x/y:pull")),
            ("repository(plugin):alice/private:pull", Some("repository(plugin):x/y:pull")),
            ("repository:alice/private:push", None),
            ("aws", Some("aws")),
            (" aws  repository:alice/private:pull ", Some("aws repository:x/y:pull")),
            ("other:thing:read", Some("other:thing:read")),
            ("registry:catalog:*", None),
            ("repository", None),
            ("REPOSITORY:alice/private:pull", None),
            ("repository:ALICE:pull", None),
            ("repository:x/y:pull\trepository:alice/private:pull", None),
            ("", None),
        ] {
            assert_eq!(confine(scopes, Some("x/y")).as_deref(), expected, "{scopes}");
        }
        let many: String = (0..10_000).map(|n| format!("repository(c{n}):a:pull ")).collect();
        assert_eq!(confine(&many, Some("x/y")).unwrap().split(' ').count(), SCOPES_MAX);
        // Some registries name a repository in the challenge of /v2/.
        assert_eq!(confine("repository:user/image:pull aws", None).as_deref(), Some("aws"));
        assert_eq!(confine("repository:user/image:pull", None), None);
    }

    #[test]
    fn wire_text_that_names_a_repository_is_parsed_as_one() {
        let sent = |text: &str| Scope::try_from(WireScope::Other(text.to_owned()));
        for text in ["repository:alice/private:pull,push", "repository(plugin):a/b:push"] {
            let scope = sent(text).unwrap();
            assert!(matches!(scope, Scope::Repository { .. }), "{text}");
            assert_eq!(scope.to_string(), text);
        }
        for text in ["Repository:alice/private:push", "repository", "x:y:\n", ""] {
            assert!(sent(text).is_err(), "{text:?}");
        }
        for text in ["other:thing:read", "aws"] {
            assert!(matches!(sent(text), Ok(Scope::Other(_))), "{text}");
        }
    }

    #[test]
    fn an_official_image_is_in_library() {
        let (_, scope) = Scope::parse("repository:alpine:pull").unwrap();
        assert_eq!(scope.in_registry(&Registry::docker_hub()).to_string(), "repository:library/alpine:pull");
    }
}
