//! Manifests for requests without a credential: fetched once, and then served from the store.
//!
//! A tag is resolved by `HEAD`, which does not count against the rate limit, and fetched only if its
//! manifest is not stored. The store holds only public manifests that match their digest. Must never use a
//! user's credential.

mod fetcher;
pub(super) mod rate_limit;
mod single_flight;

use super::error::UpstreamError;
use super::http::retry::RetryDeadline;
use super::http::small_response::SmallResponse;
use super::registry::authorized_registry::AuthorizedRegistry;
use super::registry::cacheable_request;
use super::registry::dispatch;
use super::registry::public_proof::PublicProof;
use super::registry::response::{Response, ResponseBody};
use super::token::QuotaAccount;
use crate::upstream::store::{Lru, Scope, Store, StoredManifest};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::Hop;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::{Digest, Reference, Repository, Tag};
use docxy_protocol::patience::Patience;
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::request::{Method, Operation, Request};
use fetcher::{FetchKey, Fetched, ManifestSource, is_acceptable};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use rate_limit::{LastRateLimit, Times};
use single_flight::SingleFlight;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of bytes of tags in memory, for each registry: about 5,000 tags.
const TAGS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The approximate bytes of a tag besides its names and its digest: its names are stored twice.
const TAG_OVERHEAD_BYTES: usize = 256;

/// How long a `HEAD` before a `GET` may take. It is there to save quota: registries answer one within a second or two
/// also from afar, and a registry that is silent to it must not keep its `GET` waiting.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);

static STALE_WARNING: HeaderValue = HeaderValue::from_static("110 docxy \"Response is Stale\"");

/// The public manifests of one registry.
#[derive(Debug)]
pub(super) struct PublicManifests {
    source: Arc<ManifestSource>,
    single_flight: SingleFlight<FetchKey, Result<Fetched, UpstreamError>>,
    /// Whether a tag may be served with its last known manifest when no pull is left.
    allow_stale: AtomicBool,
    /// The last known manifest of each tag, if it is stored.
    tags: Mutex<Lru<(Repository, Tag), Digest>>,
}

/// A request for a manifest without a credential or condition, with its parts.
pub(super) struct ManifestRequest<'a> {
    original: &'a Request,
    repository: &'a Repository,
    reference: &'a Reference,
    method: Method,
    deadline: RetryDeadline,
}

impl<'a> ManifestRequest<'a> {
    /// `None` for another operation, or a credential or a condition: only the registry can respond to them.
    pub(super) fn anonymous(original: &'a Request, deadline: RetryDeadline) -> Option<Self> {
        let Operation::Manifest { repository, reference, method } = &original.operation else { return None };
        let is_anonymous =
            original.authorization == Authorization::Public && !original.headers.is_conditional();
        is_anonymous.then_some(Self { original, repository, reference, method: *method, deadline })
    }
}

impl PublicManifests {
    pub(super) fn new(registry: Arc<AuthorizedRegistry>, store: Store) -> Self {
        Self {
            source: Arc::new(ManifestSource { registry, store, rate_limit: LastRateLimit::default() }),
            single_flight: SingleFlight::new(),
            allow_stale: AtomicBool::new(false),
            tags: Mutex::new(Lru::new(TAGS_BYTES_MAX)),
        }
    }

    /// The pull limit that the registry last reported for public manifests.
    pub(super) fn quota(&self) -> Option<(RateLimit, Times)> {
        self.source.rate_limit.last()
    }

    /// Sets whether a tag may be served with its last known manifest when no pull is left.
    pub(super) fn set_stale(&self, stale: bool) {
        self.allow_stale.store(stale, Ordering::Relaxed);
    }

    /// A manifest, if it is stored.
    async fn stored(&self, repository: &Repository, digest: &Digest) -> Option<Arc<StoredManifest>> {
        self.source.store.get(&self.source.key(repository, digest)).await
    }

    fn allows_stale(&self) -> bool {
        self.allow_stale.load(Ordering::Relaxed)
    }

    /// Responds to a manifest request without a credential.
    ///
    /// # Errors
    /// If a hop fails. An error status of the registry is a response, not an error.
    pub(super) async fn respond(&self, request: &ManifestRequest<'_>) -> Result<Response, UpstreamError> {
        match request.reference {
            Reference::Digest(digest) => self.by_digest(request, digest).await,
            Reference::Tag(tag) => self.by_tag(request, tag).await,
        }
    }

    /// A manifest by its digest, for prefetching: from the store, or by the one `GET` that the engine would
    /// send. `proof` is of an anonymous request that has just succeeded.
    pub(super) async fn get(
        &self,
        request: &Request,
        digest: &Digest,
        proof: Option<&PublicProof>,
    ) -> Option<Arc<StoredManifest>> {
        let repository = request.operation.repository()?;
        if let Some(stored) = self.stored(repository, digest).await {
            return Some(stored);
        }
        let (original, reference) = (request, &Reference::Digest(digest.clone()));
        let deadline = RetryDeadline::starting_at(Instant::now(), Patience::default());
        let request = ManifestRequest { original, repository, reference, method: Method::Get, deadline };
        match self.fetch(&request, reference, proof.cloned()).await {
            Ok(Fetched::Manifest(manifest, ..)) => Some(manifest),
            Ok(Fetched::Other(_) | Fetched::Mismatch(_)) | Err(_) => None,
        }
    }

    /// Records that a tag refers to a stored manifest.
    pub(super) fn record_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) {
        let size =
            repository.as_str().len() + tag.as_str().len() + digest.as_str().len() + TAG_OVERHEAD_BYTES;
        self.tags.lock().insert((repository.clone(), tag.clone()), digest.clone(), size);
    }

    async fn by_digest(
        &self,
        request: &ManifestRequest<'_>,
        digest: &Digest,
    ) -> Result<Response, UpstreamError> {
        if let Some(stored) = self.stored(request.repository, digest).await
            && is_acceptable(request.original, &stored)
        {
            return Ok(self.response_with(request, &stored, stored.head().clone()));
        }
        if request.method == Method::Head {
            return self.head(request, request.deadline).await.map(|(_, response)| response);
        }
        let fetched = self.fetch(request, request.reference, None).await?;
        self.response_from(request, fetched)
    }

    async fn by_tag(&self, request: &ManifestRequest<'_>, tag: &Tag) -> Result<Response, UpstreamError> {
        let may_be_stored = self
            .source
            .store
            .may_contain(&Scope::public(&self.source.registry.name, request.repository))
            .await;
        // If the manifest cannot be stored, a `HEAD` would only cost time. But with an operator's account, a
        // `HEAD` has to show first that the manifest is public.
        if request.method == Method::Get
            && !may_be_stored
            && self.source.registry.tokens.quota_account() == QuotaAccount::Anonymous
        {
            return self.fetch_tag(request, tag).await;
        }
        let is_get = request.method == Method::Get;
        let now = Instant::now();
        let deadline = if is_get { request.deadline.within(now, HEAD_TIMEOUT) } else { request.deadline };
        let (hop, response) = match self.head(request, deadline).await {
            // Some registries serve `GET` only, and break on a `HEAD`.
            Err(error)
                if is_get
                    && error.fault.hop != Hop::TokenService
                    && error.is_transient()
                    && Instant::now() < request.deadline.response_until() =>
            {
                tracing::debug!(reason = %error, "a HEAD of a manifest failed: sending a GET");
                return self.fetch_tag(request, tag).await;
            }
            result => result?,
        };
        if let Some(proof) = response.public_proof.clone() {
            return self.by_resolved_tag(request, tag, response, proof).await;
        }
        match (request.method, response.status) {
            (Method::Head, StatusCode::TOO_MANY_REQUESTS) => {
                Ok(self.stale_response(request, tag).await.unwrap_or(response))
            }
            (Method::Head, _) => Ok(response),
            // A `GET` would fail in the same way.
            (Method::Get, status)
                if status == StatusCode::TOO_MANY_REQUESTS
                    || (status.is_server_error() && hop == Hop::TokenService) =>
            {
                self.tag_response(request, tag, Fetched::Other(response.into_error_with_body())).await
            }
            (Method::Get, status) if status.is_server_error() => {
                tracing::debug!(%status, "a HEAD of a manifest failed: sending a GET");
                self.fetch_tag(request, tag).await
            }
            // The engine prints the error's body, which a response to `HEAD` does not have.
            (Method::Get, _) => {
                dispatch::respond(&self.source.registry, request.original, request.deadline).await
            }
        }
    }

    /// Responds after a `HEAD` that has resolved the tag to a digest.
    async fn by_resolved_tag(
        &self,
        request: &ManifestRequest<'_>,
        tag: &Tag,
        head: Response,
        proof: PublicProof,
    ) -> Result<Response, UpstreamError> {
        let digest = &proof.digest().clone();
        let stored = self.stored(request.repository, digest).await;
        if let Some(stored) = stored {
            self.record_tag(request.repository, tag, digest);
            return Ok(match request.method {
                Method::Head => head,
                Method::Get => self.response_with(request, &stored, head.headers),
            });
        }
        if request.method == Method::Head {
            // The engine's next `GET` would fail.
            let is_exhausted = self.allows_stale()
                && RateLimit::from_headers(&head.headers).is_some_and(|limit| limit.is_exhausted());
            let stale = if is_exhausted { self.stale_response(request, tag).await } else { None };
            return Ok(stale.unwrap_or(head));
        }
        // By its digest: the tag may move at any moment, and then this would fetch another manifest.
        let reference = Reference::Digest(digest.clone());
        match self.fetch(request, &reference, Some(proof)).await? {
            // The tag has moved, and the registry has deleted its old manifest.
            Fetched::Other(response) if response.status == StatusCode::NOT_FOUND => {
                dispatch::respond(&self.source.registry, request.original, request.deadline).await
            }
            // The `HEAD` has reported a wrong digest.
            Fetched::Mismatch(_) => self.fetch_tag(request, tag).await,
            fetched => self.tag_response(request, tag, fetched).await,
        }
    }

    async fn fetch_tag(&self, request: &ManifestRequest<'_>, tag: &Tag) -> Result<Response, UpstreamError> {
        let fetched = self.fetch(request, request.reference, None).await?;
        self.tag_response(request, tag, fetched).await
    }

    /// The response with what was fetched for a tag, or, if no pull is left and the settings allow it, with the tag's
    /// last known manifest.
    async fn tag_response(
        &self,
        request: &ManifestRequest<'_>,
        tag: &Tag,
        fetched: Fetched,
    ) -> Result<Response, UpstreamError> {
        match &fetched {
            Fetched::Manifest(manifest, ..) => self.record_tag(request.repository, tag, manifest.digest()),
            Fetched::Other(response) if response.status == StatusCode::TOO_MANY_REQUESTS => {
                if let Some(stale) = self.stale_response(request, tag).await {
                    return Ok(stale);
                }
            }
            Fetched::Other(_) | Fetched::Mismatch(_) => {}
        }
        self.response_from(request, fetched)
    }

    async fn stale_response(&self, request: &ManifestRequest<'_>, tag: &Tag) -> Option<Response> {
        if !self.allows_stale() {
            return None;
        }
        let digest = self.tags.lock().get(&(request.repository.clone(), tag.clone())).cloned()?;
        let stored = self.stored(request.repository, &digest).await?;
        tracing::debug!(%digest, "no pull is left: serving the tag's last known manifest");
        let mut response = self.response_with(request, &stored, stored.head().clone());
        response.headers.insert(header::WARNING, STALE_WARNING.clone());
        Some(response)
    }

    /// Sends an anonymous `HEAD` for a manifest. Returns the response with the hop that sent it.
    async fn head(
        &self,
        request: &ManifestRequest<'_>,
        deadline: RetryDeadline,
    ) -> Result<(Hop, Response), UpstreamError> {
        let ManifestRequest { original, repository, reference, .. } = *request;
        let head = cacheable_request::for_manifest(original, repository, reference, Method::Head);
        let (response, proof) = self.source.registry.head(&head, deadline).await?;
        let hop = response.hop;
        let mut response = Response::new(response, &head.operation, None).await?;
        response.public_proof = proof;
        if self.source.registry.tokens.quota_account() == QuotaAccount::Anonymous {
            self.source.rate_limit.record(&response.headers);
        }
        Ok((hop, response))
    }

    /// The response with a stored manifest.
    fn response_with(
        &self,
        request: &ManifestRequest<'_>,
        stored: &StoredManifest,
        mut headers: Headers,
    ) -> Response {
        self.source.rate_limit.add_to(&mut headers);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stored.bytes().len()));
        let body = match request.method {
            Method::Get => ResponseBody::Small(stored.bytes().clone()),
            Method::Head => ResponseBody::None,
        };
        Response { status: StatusCode::OK, headers, body, public_proof: None }
    }

    fn response_from(
        &self,
        request: &ManifestRequest<'_>,
        fetched: Fetched,
    ) -> Result<Response, UpstreamError> {
        Ok(match fetched {
            Fetched::Mismatch(error) => return Err(error),
            Fetched::Manifest(manifest, headers, public_proof) => {
                Response { public_proof, ..self.response_with(request, &manifest, headers) }
            }
            Fetched::Other(SmallResponse { status, mut headers, mut body }) => {
                if status == StatusCode::TOO_MANY_REQUESTS {
                    body = rate_limit::explain(&self.source.registry.name, &headers, &body).into();
                    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                Response { status, headers, body: ResponseBody::Small(body), public_proof: None }
            }
        })
    }
}
