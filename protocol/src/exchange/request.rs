//! A client's request to the server: one typed registry operation.
//!
//! It must never contain a URL. The server builds the URL, for a registry on its list only, so the tunnel
//! cannot be used as an open proxy.

use crate::authorization::Authorization;
use crate::headers::Headers;
use crate::listing_query::ListingQuery;
use crate::name::{Digest, Reference, Registry, Repository};
use crate::patience::Patience;
use crate::prefetch::PrefetchHint;
use crate::token::{Grant, TokenRequest};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// The field that says how urgent a response is (RFC 9218, section 5).
static PRIORITY: HeaderName = HeaderName::from_static("priority");

/// The urgency of background tasks (RFC 9218, section 4.1).
const BACKGROUND: &str = "u=7";

/// A request to a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// The registry, by the name that users write.
    pub registry: Registry,
    /// The requested operation.
    pub operation: Operation,
    /// The engine's credential.
    pub authorization: Authorization,
    /// The engine's header fields that are sent to the registry.
    pub headers: Headers,
    /// What the server may prefetch after the response to a manifest request.
    pub prefetch: Option<PrefetchHint>,
    /// How long the client waits for the head of the response.
    pub patience: Patience,
    /// Which request of an engine this is part of, in the logs of both sides.
    pub trace: TraceId,
}

/// Names a request of an engine. The client chooses it at random; 0 is a request of the client itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, derive_more::Display, Serialize, Deserialize)]
#[display("{_0:016x}")]
pub struct TraceId(pub u64);

impl TraceId {
    /// Whether it names one.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl Request {
    /// A request without credential, header fields and prefetch hint, for which no engine waits.
    #[must_use]
    pub fn new(registry: Registry, operation: Operation) -> Self {
        let (authorization, headers) = (Authorization::None, Headers::default());
        let (patience, trace) = (Patience::default(), TraceId::default());
        Self { registry, operation, authorization, headers, prefetch: None, patience, trace }
    }

    /// Sets the credential.
    #[must_use]
    pub fn with_authorization(self, authorization: Authorization) -> Self {
        Self { authorization, ..self }
    }

    /// Sets the header fields.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// Sets the request of the engine.
    #[must_use]
    pub fn with_trace(self, trace: TraceId) -> Self {
        Self { trace, ..self }
    }

    /// No engine waits for the content of its response, which is sent after all others.
    #[must_use]
    pub fn in_background(mut self) -> Self {
        self.headers.insert(PRIORITY.clone(), HeaderValue::from_static(BACKGROUND));
        self
    }

    /// Whether no engine waits for the content of its response.
    #[must_use]
    pub fn is_in_background(&self) -> bool {
        self.headers.get_str(&PRIORITY) == Some(BACKGROUND)
    }

    /// The same for the registry, which does not get to know how urgent it is: responses may differ by it.
    #[must_use]
    pub fn without_priority(mut self) -> Self {
        self.headers.remove(&PRIORITY);
        self
    }

    /// Whether it carries what only its user may know: a password, or a token that was obtained with one.
    #[must_use]
    pub const fn has_credential(&self) -> bool {
        let in_form = matches!(
            &self.operation,
            Operation::Token(TokenRequest { grant: Grant::Password { .. } | Grant::RefreshToken(_), .. })
        );
        in_form || !matches!(self.authorization, Authorization::None | Authorization::Public)
    }

    /// Removes the credentials that the registry must not receive, and every right except pulling: see
    /// [`Authorization::for_registry`] and [`TokenRequest::for_registry`]. The client applies it to
    /// requests of engines, and the server to requests of clients, because neither may rely on the other.
    /// [`crate::token_origins`] decides whether the registry may receive the request's token.
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
    /// `GET /v2/`: checks that the host is a registry, and returns its challenge.
    Ping,
    /// A token from the registry's token service.
    Token(TokenRequest),
    /// A manifest.
    Manifest {
        /// The repository.
        repository: Repository,
        /// The tag or digest.
        reference: Reference,
        /// Whether to return the content.
        method: Method,
    },
    /// A blob.
    Blob {
        /// The repository.
        repository: Repository,
        /// The digest.
        digest: Digest,
        /// Whether to return the content.
        method: Method,
    },
    /// The tags of a repository.
    Tags {
        /// The repository.
        repository: Repository,
        /// The part of the list.
        page: ListingQuery,
    },
    /// The manifests that refer to a manifest.
    Referrers {
        /// The repository.
        repository: Repository,
        /// The digest of that manifest.
        subject: Digest,
        /// The part of the list, and the artifact type.
        page: ListingQuery,
    },
}

/// The HTTP method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Status, header fields and content.
    Get,
    /// Status and header fields only. It must never become a `GET`, which would use up quota.
    Head,
}

impl Operation {
    /// Path and query on the registry's host; `None` for a token, which another service issues.
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

    /// The HTTP method.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Manifest { method, .. } | Self::Blob { method, .. } => *method,
            _ => Method::Get,
        }
    }

    /// The requested repository, for the scope of a token.
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

    /// The error code (distribution spec) for a 404 without a code.
    #[must_use]
    pub const fn unknown_code(&self) -> &'static str {
        match self {
            Self::Manifest { .. } => "MANIFEST_UNKNOWN",
            Self::Blob { .. } => "BLOB_UNKNOWN",
            // Clients then look for the referrers under a tag (distribution spec, "Unavailable Referrers API").
            // At NAME_UNKNOWN, which only a registry can know, they would stop.
            Self::Referrers { .. } => "UNSUPPORTED",
            _ => "NAME_UNKNOWN",
        }
    }

    /// The name for logs and metrics.
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
