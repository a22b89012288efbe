//! Who may see content: it is public, or only for the holder of one token.

use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::name::{Digest, Registry, Repository};
use docxy_protocol::request::Request;
use docxy_protocol::secret::Secret;
use std::path::PathBuf;

/// A repository, as seen without a credential or by the holder of one token. Content from one scope
/// is never returned for another.
#[derive(Clone, PartialEq, Eq, Hash, derive_more::Debug)]
pub struct Scope {
    /// The registry.
    pub registry: Registry,
    /// The repository.
    pub repository: Repository,
    /// The hash of the token that is needed.
    #[debug("{:?}", token.as_ref().map(|_| "…"))]
    token: Option<Digest>,
}

impl Scope {
    /// What is public of a repository.
    #[must_use]
    pub fn public(registry: &Registry, repository: &Repository) -> Self {
        Self { registry: registry.clone(), repository: repository.clone(), token: None }
    }

    /// The scope of a request. `None` without a repository, and with a password, since only the registry can
    /// check it.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        let public = Self::public(&request.registry, request.operation.repository()?);
        match &request.authorization {
            Authorization::None | Authorization::Public => Some(public),
            Authorization::Bearer(token) => Some(public.with_token(token)),
            Authorization::Login(login) => Some(public.with_token(&login.owner())),
            Authorization::Basic(_) => None,
        }
    }

    /// What the holder of this token sees of the same repository.
    #[must_use]
    pub fn with_token(self, token: &Secret) -> Self {
        Self { token: Some(Digester::sha256().digest(token.expose().as_bytes())), ..self }
    }

    /// Whether the content is public.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.token.is_none()
    }

    /// A directory name of fixed length for the repository, which any file system accepts.
    pub(super) fn directory(&self) -> PathBuf {
        let name = format!("{}/{}", self.registry, self.repository);
        Digester::sha256().digest(name.as_bytes()).hex().into()
    }
}
