//! Fetches public manifests: once for all concurrent requests, checked, and then stored.
//!
//! Must never use a user's credential, because the store is shared by all clients.

use super::rate_limit::{LastRateLimit, without_volatile_fields};
use super::single_flight::SingleFlight;
use crate::store::{Key, Store, StoredManifest};
use crate::upstream::http::body::collect_up_to;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::retry::RetryDeadline;
use crate::upstream::http::small_response::SmallResponse;
use crate::upstream::registry::UpstreamRegistry;
use crate::upstream::response::Response;
use crate::upstream::shared_request;
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::name::{Reference, Registry as RegistryName, Repository};
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use tokio::time::Instant;

/// Fetches the manifests of one registry.
#[derive(Debug)]
pub(in crate::upstream) struct ManifestFetcher {
    name: RegistryName,
    registry: Arc<UpstreamRegistry>,
    store: Store,
    rate_limit: Arc<LastRateLimit>,
    single_flight: SingleFlight<FetchKey, Result<Fetched, Fault>>,
}

/// The result of a fetch.
#[derive(Debug, Clone)]
pub(in crate::upstream) enum Fetched {
    /// A manifest that was checked and stored, with the response's header fields.
    Manifest(Arc<StoredManifest>, Headers),
    /// Another response of the registry.
    Other(SmallResponse),
}

/// What is fetched. A registry may choose the manifest of a tag by `Accept`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FetchKey {
    repository: Repository,
    reference: Reference,
    accept: Vec<HeaderValue>,
}

impl ManifestFetcher {
    pub(in crate::upstream) fn new(
        name: RegistryName,
        registry: Arc<UpstreamRegistry>,
        store: Store,
        rate_limit: Arc<LastRateLimit>,
    ) -> Self {
        Self { name, registry, store, rate_limit, single_flight: SingleFlight::new() }
    }

    /// Fetches a manifest. `is_public` says that an anonymous `HEAD` has just succeeded.
    ///
    /// # Errors
    /// If a hop fails. What the registry refuses is a response.
    pub(in crate::upstream) async fn fetch(
        &self,
        request: &Request,
        repository: &Repository,
        reference: &Reference,
        is_public: bool,
    ) -> Result<Fetched, Fault> {
        let accept = request.headers.map().get_all(header::ACCEPT).iter().cloned().collect();
        let key = FetchKey { repository: repository.clone(), reference: reference.clone(), accept };
        let request = shared_request::for_manifest(request, repository, reference, Method::Get);
        let fetch = Fetch {
            name: self.name.clone(),
            registry: Arc::clone(&self.registry),
            store: self.store.clone(),
            rate_limit: Arc::clone(&self.rate_limit),
            request,
            is_public,
        };
        self.single_flight.run(key, || fetch.run()).await
    }
}

/// One fetch, which is dropped when no caller waits for it.
struct Fetch {
    name: RegistryName,
    registry: Arc<UpstreamRegistry>,
    store: Store,
    rate_limit: Arc<LastRateLimit>,
    request: Request,
    is_public: bool,
}

impl Fetch {
    async fn run(self) -> Result<Fetched, Fault> {
        let Self { name, registry, store, rate_limit, request, is_public } = self;
        let UpstreamResponse { hop, response } = registry.manifest(&request, is_public, deadline()).await?;
        if response.status() != StatusCode::OK || is_encoded(response.headers()) {
            let response = Response::new(hop, &request.operation, response, None).await?;
            rate_limit.record(&response.headers);
            return Ok(Fetched::Other(response.into_small()));
        }
        let (head, body) = response.into_parts();
        let headers = Headers::filter_response(&head.headers);
        rate_limit.record(&headers);
        let bytes = collect_up_to(MANIFEST_MAX, hop, body).await?;
        let (requested, repository) = match request.operation {
            Operation::Manifest { reference: Reference::Digest(digest), repository, .. } => {
                (Some(digest), repository)
            }
            Operation::Manifest { repository, .. } => (None, repository),
            _ => {
                return Err(Fault::new(
                    Hop::Server,
                    FaultKind::Internal,
                    "a manifest fetch for another operation",
                ));
            }
        };
        let digest =
            requested.or(headers.content_digest()).unwrap_or_else(|| Digester::sha256().digest(&bytes));
        let stored_headers = without_volatile_fields(headers.clone());
        let manifest =
            StoredManifest::check(digest.clone(), stored_headers, bytes).await.map_err(|wrong| {
                Fault::new(
                    hop,
                    FaultKind::MalformedResponse,
                    format!("sends a manifest that does not match its digest: {wrong}"),
                )
            })?;
        let manifest = Arc::new(manifest);
        store.put(&Key::public(&name, &repository, digest), &manifest);
        Ok(Fetched::Manifest(manifest, headers))
    }
}

/// The retry deadline for a manifest.
pub(in crate::upstream) fn deadline() -> RetryDeadline {
    RetryDeadline::starting_at(Instant::now())
}
