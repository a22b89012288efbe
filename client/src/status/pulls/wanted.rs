//! What a request wants of an image.

use docxy_protocol::name::{Digest, Reference, Registry, Repository};
use docxy_protocol::request::{Method, Operation, Request};

/// A request for a part of an image.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(super) registry: Registry,
    pub(super) repository: Repository,
    pub(super) target: Target,
    pub(super) engine: Option<&'static str>,
}

/// The part.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Tag(String),
    Manifest(Digest),
    Blob(Digest),
}

impl Wanted {
    /// `None` if the request is for no image.
    pub(crate) fn of(request: &Request, engine: Option<&'static str>) -> Option<Self> {
        let (repository, target) = match &request.operation {
            Operation::Manifest { repository, reference: Reference::Tag(tag), .. }
                // Signatures and attestations, which need not be there.
                if !tag.as_str().starts_with("sha256-") =>
            {
                (repository, Target::Tag(tag.to_string()))
            }
            Operation::Manifest { repository, reference: Reference::Digest(digest), .. } => {
                (repository, Target::Manifest(digest.clone()))
            }
            Operation::Blob { repository, digest, method: Method::Get } => {
                (repository, Target::Blob(digest.clone()))
            }
            _ => return None,
        };
        let (registry, repository) = (request.registry.clone(), repository.clone());
        Some(Self { registry, repository, target, engine })
    }

    pub(super) const fn is_tag(&self) -> bool {
        matches!(self.target, Target::Tag(_))
    }

    pub(super) const fn digest(&self) -> Option<&Digest> {
        match &self.target {
            Target::Tag(_) => None,
            Target::Manifest(digest) | Target::Blob(digest) => Some(digest),
        }
    }

    /// The image as users name it.
    pub(crate) fn image(&self) -> String {
        let Self { registry, repository, .. } = self;
        match &self.target {
            Target::Tag(tag) => format!("{registry}/{repository}:{tag}"),
            Target::Manifest(digest) => format!("{registry}/{repository}@{digest}"),
            Target::Blob(_) => format!("{registry}/{repository}"),
        }
    }
}
