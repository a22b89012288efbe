//! One typed registry operation. Never a URL: the server builds that itself, for a registry on
//! its list, so the tunnel cannot be used as an open proxy.

use crate::authorization::Authorization;
use crate::headers::Headers;
use crate::listing_query::ListingQuery;
use crate::name::{Digest, Reference, Registry, Repository};
use crate::prefetch::PrefetchHint;
use crate::token::TokenRequest;
use serde::{Deserialize, Serialize};

/// What a client asks of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which registry, by the name that users use.
    pub registry: Registry,
    /// What is asked.
    pub operation: Operation,
    /// Whom the engine speaks for.
    pub authorization: Authorization,
    /// The engine's header fields that go to the registry.
    pub headers: Headers,
    /// What of a manifest's image may follow the answer.
    pub prefetch: Option<PrefetchHint>,
}

impl Request {
    /// The same request without what its registry must not see and without more rights than pulling
    /// needs: see [`Authorization::for_registry`] and [`TokenRequest::for_registry`]. The client applies
    /// it to what engines send, the server to what clients send, since neither may rely on the other.
    /// Whether the registry may see the request's token is decided by [`crate::token_origins`].
    #[must_use]
    pub fn without_foreign_credentials(mut self) -> Self {
        match self.operation {
            Operation::Token(token) => {
                self.authorization = self.authorization.for_token_service(&self.registry);
                self.operation = Operation::Token(token.for_registry(&self.registry));
            }
            _ => self.authorization = self.authorization.for_registry(&self.registry),
        }
        self
    }
}

/// The operations of the distribution spec that pulling needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `GET /v2/`: is this a registry, and how does one authenticate?
    Ping,
    /// A token from the registry's token service.
    Token(TokenRequest),
    /// A manifest.
    Manifest {
        /// Of which repository.
        repository: Repository,
        /// By tag or digest.
        reference: Reference,
        /// With its content or without.
        method: Method,
    },
    /// A blob.
    Blob {
        /// Of which repository.
        repository: Repository,
        /// By digest.
        digest: Digest,
        /// With its content or without.
        method: Method,
    },
    /// The tags of a repository.
    Tags {
        /// Of which repository.
        repository: Repository,
        /// Which part of the list.
        page: ListingQuery,
    },
    /// The manifests that refer to one.
    Referrers {
        /// Of which repository.
        repository: Repository,
        /// The manifest referred to.
        subject: Digest,
        /// Which part of the list, and of which type.
        page: ListingQuery,
    },
}

/// Whether the content is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Head and content.
    Get,
    /// The head alone. Never made a `GET` on the way: that would cost quota.
    Head,
}

impl Operation {
    /// Path and query on the registry's host; `None` for a token, which lives elsewhere.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        Some(match self {
            Self::Ping => "/v2/".to_owned(),
            Self::Token(_) => return None,
            Self::Manifest { repository, reference, .. } => format!("/v2/{repository}/manifests/{reference}"),
            Self::Blob { repository, digest, .. } => format!("/v2/{repository}/blobs/{digest}"),
            Self::Tags { repository, page } => {
                format!("/v2/{repository}/tags/list{}", page.suffix())
            }
            Self::Referrers { repository, subject, page } => {
                format!("/v2/{repository}/referrers/{subject}{}", page.suffix())
            }
        })
    }

    /// Whether the content is wanted.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Manifest { method, .. } | Self::Blob { method, .. } => *method,
            _ => Method::Get,
        }
    }

    /// The repository at stake, for the scope of a token.
    #[must_use]
    pub const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Ping | Self::Token(_) => None,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Tags { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }

    /// The error code (distribution spec) for "there is no such thing".
    #[must_use]
    pub const fn unknown_code(&self) -> &'static str {
        match self {
            Self::Manifest { .. } => "MANIFEST_UNKNOWN",
            Self::Blob { .. } => "BLOB_UNKNOWN",
            _ => "NAME_UNKNOWN",
        }
    }

    /// A word for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Token(_) => "token",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
        }
    }
}
