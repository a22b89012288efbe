//! Manifests for requests without a credential: fetched once, and then served from the store.
//!
//! A tag is resolved by `HEAD`, which doesn't count against the rate limit, and fetched only if its
//! manifest is not stored. The store holds only public manifests that match their digest. Must never use a
//! user's credential.

mod fetcher;
pub(super) mod rate_limit;
mod single_flight;

use super::http::redirect::UpstreamResponse;
use super::http::small_response::SmallResponse;
use super::registry::UpstreamRegistry;
use super::respond::respond;
use super::response::{Response, ResponseBody};
use super::shared_request;
use crate::store::{Key, Lru, Scope, Store, StoredManifest};
use docxy_protocol::accept::accepts;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::{Digest, Reference, Registry as RegistryName, Repository, Tag};
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::request::{Method, Operation, Request};
use fetcher::{Fetched, ManifestFetcher, deadline};
use http::{HeaderValue, StatusCode, header};
use rate_limit::LastRateLimit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of tags in memory, for each registry: about 5,000 tags.
const TAGS_MAX_BYTES: usize = 2 * 1024 * 1024;

/// The approximate bytes of a tag besides its names and its digest: its names are stored twice.
const TAG_OVERHEAD_BYTES: usize = 256;

static STALE: HeaderValue = HeaderValue::from_static("110 docxy \"Response is Stale\"");

/// The public manifests of one registry.
#[derive(Debug)]
pub(super) struct PublicManifests {
    name: RegistryName,
    registry: Arc<UpstreamRegistry>,
    store: Store,
    /// Whether a tag may be served with its last known manifest when no pull is left.
    allow_stale: AtomicBool,
    fetcher: ManifestFetcher,
    rate_limit: Arc<LastRateLimit>,
    /// The last known manifest of each tag, if it is stored.
    tags: Mutex<Lru<(Repository, Tag), Digest>>,
}

/// A request for a manifest, with its parts.
struct ManifestRequest<'a> {
    original: &'a Request,
    repository: &'a Repository,
    reference: &'a Reference,
    method: Method,
}

impl PublicManifests {
    pub(super) fn new(
        name: RegistryName,
        registry: Arc<UpstreamRegistry>,
        store: Store,
        stale: bool,
    ) -> Self {
        let rate_limit = Arc::<LastRateLimit>::default();
        let fetcher =
            ManifestFetcher::new(name.clone(), Arc::clone(&registry), store.clone(), Arc::clone(&rate_limit));
        let allow_stale = AtomicBool::new(stale);
        Self {
            name,
            registry,
            store,
            allow_stale,
            fetcher,
            rate_limit,
            tags: Mutex::new(Lru::new(TAGS_MAX_BYTES)),
        }
    }

    /// Sets whether a tag may be served with its last known manifest when no pull is left.
    pub(super) fn set_stale(&self, stale: bool) {
        self.allow_stale.store(stale, Ordering::Relaxed);
    }

    fn allows_stale(&self) -> bool {
        self.allow_stale.load(Ordering::Relaxed)
    }

    /// Responds to a manifest request without a credential. Returns `None` for another operation, or a
    /// conditional request, to which only the registry can respond.
    pub(super) async fn respond(&self, request: &Request) -> Option<Result<Response, Fault>> {
        let Operation::Manifest { repository, reference, method } = &request.operation else { return None };
        if request.headers.is_conditional() {
            return None;
        }
        let request = ManifestRequest { original: request, repository, reference, method: *method };
        Some(match reference {
            Reference::Digest(digest) => self.by_digest(&request, digest).await,
            Reference::Tag(tag) => self.by_tag(&request, tag).await,
        })
    }

    /// A manifest by its digest, for prefetching: from the store, or by the one `GET` that the engine would
    /// send. `is_public` says that an anonymous `HEAD` has just succeeded.
    pub(super) async fn get(
        &self,
        request: &Request,
        digest: &Digest,
        is_public: bool,
    ) -> Option<Arc<StoredManifest>> {
        let repository = request.operation.repository()?;
        if let Some(stored) = self.store.get(&self.key(repository, digest)).await {
            return Some(stored);
        }
        match self.fetcher.fetch(request, repository, &Reference::Digest(digest.clone()), is_public).await {
            Ok(Fetched::Manifest(manifest, _)) => Some(manifest),
            Ok(Fetched::Other(_)) | Err(_) => None,
        }
    }

    /// Records that a tag refers to a stored manifest.
    pub(super) fn record_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) {
        let size =
            repository.as_str().len() + tag.as_str().len() + digest.as_str().len() + TAG_OVERHEAD_BYTES;
        self.lock_tags().insert((repository.clone(), tag.clone()), digest.clone(), size);
    }

    async fn by_digest(&self, request: &ManifestRequest<'_>, digest: &Digest) -> Result<Response, Fault> {
        if let Some(stored) = self.store.get(&self.key(request.repository, digest)).await
            && is_acceptable(&request.original.headers, &stored)
        {
            return Ok(self.response_with(request, &stored, stored.head().clone()));
        }
        if request.method == Method::Head {
            return self.head(request).await;
        }
        let fetched =
            self.fetcher.fetch(request.original, request.repository, request.reference, false).await?;
        Ok(self.response_from(request, fetched))
    }

    async fn by_tag(&self, request: &ManifestRequest<'_>, tag: &Tag) -> Result<Response, Fault> {
        let may_be_stored = self.store.may_contain(&Scope::public(&self.name, request.repository));
        // If the manifest cannot be stored, a `HEAD` would only cost time. But with an operator's account, a
        // `HEAD` has to show first that the manifest is public.
        if request.method == Method::Get && !may_be_stored && !self.registry.is_operator_account_usable() {
            return self.fetch_tag(request, tag).await;
        }
        let response = self.head(request).await?;
        if let Some(digest) = response.headers.content_digest().filter(|_| response.status == StatusCode::OK)
        {
            return self.by_resolved_tag(request, tag, response, &digest).await;
        }
        match (request.method, response.status) {
            (Method::Head, StatusCode::TOO_MANY_REQUESTS) => {
                Ok(self.stale_response(request, tag).await.unwrap_or(response))
            }
            (Method::Head, _) => Ok(response),
            // A `GET` would fail in the same way.
            (Method::Get, status) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                self.stale_or(request, tag, response.into_error_with_body()).await
            }
            // The engine prints the error's body, which a response to `HEAD` doesn't have.
            (Method::Get, _) => respond(&self.registry, request.original).await,
        }
    }

    /// Responds after a `HEAD` that has resolved the tag to a digest.
    async fn by_resolved_tag(
        &self,
        request: &ManifestRequest<'_>,
        tag: &Tag,
        head: Response,
        digest: &Digest,
    ) -> Result<Response, Fault> {
        let stored = self.store.get(&self.key(request.repository, digest)).await;
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
        match self.fetcher.fetch(request.original, request.repository, &reference, true).await? {
            // The tag has moved, and the registry has deleted its old manifest.
            Fetched::Other(response) if response.status == StatusCode::NOT_FOUND => {
                respond(&self.registry, request.original).await
            }
            Fetched::Other(response) => self.stale_or(request, tag, response).await,
            fetched @ Fetched::Manifest(..) => {
                self.record_tag(request.repository, tag, digest);
                Ok(self.response_from(request, fetched))
            }
        }
    }

    async fn fetch_tag(&self, request: &ManifestRequest<'_>, tag: &Tag) -> Result<Response, Fault> {
        match self.fetcher.fetch(request.original, request.repository, request.reference, false).await? {
            Fetched::Other(response) => self.stale_or(request, tag, response).await,
            Fetched::Manifest(manifest, headers) => {
                self.record_tag(request.repository, tag, manifest.digest());
                Ok(self.response_with(request, &manifest, headers))
            }
        }
    }

    /// This response, or, if no pull is left and the settings allow it, the tag's last known manifest.
    async fn stale_or(
        &self,
        request: &ManifestRequest<'_>,
        tag: &Tag,
        response: SmallResponse,
    ) -> Result<Response, Fault> {
        let stale = match response.status {
            StatusCode::TOO_MANY_REQUESTS => self.stale_response(request, tag).await,
            _ => None,
        };
        Ok(stale.unwrap_or_else(|| self.response_from(request, Fetched::Other(response))))
    }

    async fn stale_response(&self, request: &ManifestRequest<'_>, tag: &Tag) -> Option<Response> {
        if !self.allows_stale() {
            return None;
        }
        let digest = self.lock_tags().get(&(request.repository.clone(), tag.clone())).cloned()?;
        let stored = self.store.get(&self.key(request.repository, &digest)).await?;
        tracing::info!(%digest, "no pull is left: serving the tag's last known manifest");
        let mut response = self.response_with(request, &stored, stored.head().clone());
        response.headers.set(header::WARNING, STALE.clone());
        Some(response)
    }

    /// Sends an anonymous `HEAD` for a manifest.
    async fn head(&self, request: &ManifestRequest<'_>) -> Result<Response, Fault> {
        let ManifestRequest { original, repository, reference, .. } = *request;
        let head = shared_request::for_manifest(original, repository, reference, Method::Head);
        let UpstreamResponse { hop, response } = self.registry.head(&head, deadline()).await?;
        let response = Response::new(hop, &head.operation, response, None).await?;
        if !self.registry.is_operator_account_usable() {
            self.rate_limit.record(&response.headers);
        }
        Ok(response)
    }

    /// The response with a stored manifest.
    fn response_with(
        &self,
        request: &ManifestRequest<'_>,
        stored: &StoredManifest,
        mut headers: Headers,
    ) -> Response {
        self.rate_limit.add_to(&mut headers);
        headers.set(header::CONTENT_LENGTH, HeaderValue::from(stored.bytes().len()));
        let body = match request.method {
            Method::Get => ResponseBody::Small(stored.bytes().clone()),
            Method::Head => ResponseBody::None,
        };
        Response { status: StatusCode::OK, headers, body }
    }

    fn response_from(&self, request: &ManifestRequest<'_>, fetched: Fetched) -> Response {
        match fetched {
            Fetched::Manifest(manifest, headers) => self.response_with(request, &manifest, headers),
            Fetched::Other(SmallResponse { status, mut headers, mut body }) => {
                if status == StatusCode::TOO_MANY_REQUESTS {
                    body = rate_limit::explain(&self.name, &headers, &body).into();
                    headers.set(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
                headers.set(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                Response { status, headers, body: ResponseBody::Small(body) }
            }
        }
    }

    fn key(&self, repository: &Repository, digest: &Digest) -> Key {
        Key::public(&self.name, repository, digest.clone())
    }

    fn lock_tags(&self) -> MutexGuard<'_, Lru<(Repository, Tag), Digest>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an engine accepts a manifest of this type. To a request that doesn't accept it, a registry may
/// respond 404.
fn is_acceptable(headers: &Headers, manifest: &StoredManifest) -> bool {
    manifest.content_type().is_some_and(|own| accepts(headers.map(), own))
}
