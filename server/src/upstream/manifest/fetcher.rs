//! Fetches public manifests: once for all concurrent requests, checked, and then stored.
//!
//! Must never use a user's credential, because the store is shared by all clients, nor store a manifest without the proof
//! that it is public.

use super::rate_limit::{LastRateLimit, without_volatile_fields};
use super::{ManifestRequest, PublicManifests};
use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::collect_until;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::retry::RetryDeadline;
use crate::upstream::http::small_response::SmallResponse;
use crate::upstream::registry::authorized_registry::AuthorizedRegistry;
use crate::upstream::registry::cacheable_request;
use crate::upstream::registry::public_proof::PublicProof;
use crate::upstream::registry::response::Response;
use crate::upstream::store::{Key, Store, StoredManifest};
use docxy_protocol::accept::accepts;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::limits::{MANIFEST_BYTES_MAX, PATIENCE_MAX};
use docxy_protocol::name::{Digest, Reference, Repository};
use docxy_protocol::patience::Patience;
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use tokio::time::Instant;

/// What each fetch uses. A fetch is dropped when no caller waits for it.
#[derive(Debug)]
pub(super) struct ManifestSource {
    pub(super) registry: Arc<AuthorizedRegistry>,
    pub(super) store: Store,
    pub(super) rate_limit: LastRateLimit,
}

/// The result of a fetch.
#[derive(Debug, Clone)]
pub(crate) enum Fetched {
    /// A manifest that was checked and stored, with the response's header fields.
    Manifest(Arc<StoredManifest>, Headers, Option<PublicProof>),
    /// Another response of the registry, or a manifest for a tag that does not match the digest that the response
    /// reports.
    Other(SmallResponse),
    /// The registry sends other content for the digest that was requested.
    Mismatch(UpstreamError),
}

/// What is fetched. A registry may choose the manifest of a tag by `Accept`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FetchKey {
    repository: Repository,
    reference: Reference,
    accept: Vec<HeaderValue>,
}

impl PublicManifests {
    /// Fetches the manifest of this tag or digest of the request's repository. `proof` is that of an anonymous `HEAD` that has just succeeded. If this caller's time is
    /// up, the fetch goes on: it counts against the rate limit, and the engine's next request must not cost another.
    ///
    /// # Errors
    /// If a hop fails, or there is no result by the deadline. An error status of the registry is a response, not an error.
    pub(super) async fn fetch(
        &self,
        request: &ManifestRequest<'_>,
        reference: &Reference,
        proof: Option<PublicProof>,
    ) -> Result<Fetched, UpstreamError> {
        let ManifestRequest { original, repository, deadline, .. } = *request;
        let accept = original.headers.get_all(header::ACCEPT).iter().cloned().collect();
        let key = FetchKey { repository: repository.clone(), reference: reference.clone(), accept };
        let request = cacheable_request::for_manifest(original, repository, reference, Method::Get);
        let source = Arc::clone(&self.source);
        let started = Instant::now();
        let fetched =
            self.single_flight.run(key, deadline.response_until(), || source.fetch(request, proof)).await;
        fetched.unwrap_or_else(|| {
            let (name, seconds) = (&self.source.registry.name, started.elapsed().as_secs());
            let detail = format!("{name} did not send the manifest within {seconds} s");
            Err(UpstreamError::new(Hop::Registry, FaultKind::TimedOut, detail))
        })
    }
}

impl ManifestSource {
    /// The key of a public manifest of the registry.
    pub(super) fn key(&self, repository: &Repository, digest: &Digest) -> Key {
        Key::public(&self.registry.name, repository, digest.clone())
    }

    async fn fetch(
        self: Arc<Self>,
        request: Request,
        proof: Option<PublicProof>,
    ) -> Result<Fetched, UpstreamError> {
        let Self { registry, store, rate_limit } = &*self;
        // Several callers may wait, and none may any more.
        let deadline = RetryDeadline::starting_at(Instant::now(), Patience::new(PATIENCE_MAX));
        // Another fetch may have ended since the caller looked.
        if let Operation::Manifest { repository, reference: Reference::Digest(digest), .. } =
            &request.operation
            && let Some(stored) = store.get_from_memory(&self.key(repository, digest))
            && is_acceptable(&request, &stored)
        {
            let headers = stored.head().clone();
            return Ok(Fetched::Manifest(stored, headers, proof));
        }
        let (response, proof) = registry.manifest(&request, proof, deadline).await?;
        let proof = match proof.filter(|_| !is_encoded(response.response.headers())) {
            Some(proof) if response.response.status() == StatusCode::OK => proof,
            _ => {
                let response = Response::new(response, &request.operation, None).await?;
                rate_limit.record(&response.headers);
                return Ok(Fetched::Other(response.into_small()));
            }
        };
        let UpstreamResponse { hop, response, .. } = response;
        let (head, body) = response.into_parts();
        let headers = Headers::filter_response(&head.headers);
        rate_limit.record(&headers);
        let body = collect_until(deadline.response_until(), MANIFEST_BYTES_MAX, hop, body).await?;
        let stored_headers = without_volatile_fields(headers.clone());
        let checked = StoredManifest::check(proof.digest().clone(), stored_headers, body.clone()).await;
        Ok(match (checked, &request.operation) {
            (Ok(manifest), _) => {
                let manifest = Arc::new(manifest);
                store.put(&proof.key(), &manifest);
                Fetched::Manifest(manifest, headers, Some(proof))
            }
            // The engine decides what it makes of it. It is not stored: nothing says which digest is right.
            (Err(error), Operation::Manifest { reference: Reference::Tag(tag), .. }) => {
                tracing::warn!(%hop, %tag, reason = %error, "the manifest of a tag does not match the reported digest");
                Fetched::Other(SmallResponse { status: head.status, headers, body })
            }
            (Err(error), _) => {
                let detail = format!("sends a manifest that does not match its digest: {error}");
                Fetched::Mismatch(UpstreamError::new(hop, FaultKind::MalformedResponse, detail))
            }
        })
    }
}

/// Whether a request accepts a manifest of this type. To one that does not, a registry may respond 404.
pub(super) fn is_acceptable(request: &Request, manifest: &StoredManifest) -> bool {
    manifest.content_type().is_some_and(|own| accepts(&request.headers, own))
}
