//! Layers that this server keeps on its disk, for all its clients.
//!
//! Two clients that request a layer at the same time, while it is not here, have a download each: one is as fast as the
//! client that it is for, and must not hold up another.
//!
//! Must never keep, or serve, what is not public: a [`PublicBlob`] is the proof, and one that is older than
//! [`PUBLIC_FOR`] is made again. Must never stop a pull: without a disk that it can use, the registry sends all.

mod download;

pub(crate) use download::{Download, Remote};

use super::error::UpstreamError;
use super::http::retry::RetryDeadline;
use super::registry::authorized_registry::AuthorizedRegistry;
use super::registry::dispatch;
use super::registry::public_proof::PublicBlob;
use super::registry::response::{Response, ResponseBody};
use crate::settings::LayerCacheSettings;
use docxy_host::blob_store::{BlobKey, BlobLimits, BlobOwner, BlobStore, BlobStoreState, StoredBlob};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::name::Digest;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::requested_bytes::RequestedBytes;
use download::CachedDownload;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How long a layer counts as public after a registry has shown it to a request without an account.
const PUBLIC_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long the start waits for a directory that the process before still has.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The layers. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    store: BlobStore,
    bytes_served: Arc<AtomicU64>,
}

/// What is kept, for reports.
#[derive(Debug, serde::Serialize)]
pub(crate) struct LayerCacheReport {
    /// The files.
    #[serde(flatten)]
    pub(crate) state: BlobStoreState,
    /// Bytes that the disk has sent in place of a registry, since the start.
    pub(crate) bytes_served: u64,
}

impl LayerCache {
    /// The layers in this directory. `None`, with a line in the log, if it cannot be used. Lists the files, and so blocks.
    pub(crate) fn open(settings: &LayerCacheSettings) -> Option<Self> {
        let LayerCacheSettings { bytes_max, directory } = settings;
        let limits = BlobLimits { bytes_max: Some(*bytes_max), ..BlobLimits::default() };
        match BlobStore::open_in(directory, limits, LOCK_TIMEOUT) {
            Ok(store) => Some(Self { store, bytes_served: Arc::default() }),
            Err(error) => {
                tracing::warn!(%error, "layers are not kept on the disk");
                None
            }
        }
    }

    pub(crate) fn report(&self) -> LayerCacheReport {
        let bytes_served = self.bytes_served.load(Ordering::Relaxed);
        LayerCacheReport { state: self.store.state(), bytes_served }
    }

    /// Whether the response to this request may be of a layer that is kept.
    pub(crate) fn serves(request: &Request) -> bool {
        matches!(request.operation, Operation::Blob { method: Method::Get, .. })
            && request.authorization == Authorization::Public
            && RequestedBytes::of_request(&request.headers).is_some()
    }

    /// The response to a request that it [serves](Self::serves), from the disk as far as that has it.
    ///
    /// # Errors
    /// If a hop fails. An error status of the registry is a response, not an error.
    pub(crate) async fn respond(
        &self,
        registry: &Arc<AuthorizedRegistry>,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<Response, UpstreamError> {
        if let Operation::Blob { digest, .. } = &request.operation
            && let Some(stored) = self.store.find(&key(digest)).await
            && let Some(response) = self.stored(registry, request, &stored, deadline).await?
        {
            return Ok(response);
        }
        let response = dispatch::respond(registry, request, deadline).await?;
        Ok(self.keep(registry, request, response).await)
    }

    /// The response from the disk, if the layer is public now. `None` if the registry must say what the response is.
    async fn stored(
        &self,
        registry: &Arc<AuthorizedRegistry>,
        request: &Request,
        stored: &StoredBlob,
        deadline: RetryDeadline,
    ) -> Result<Option<Response>, UpstreamError> {
        let size = stored.size();
        let Some(requested) = RequestedBytes::of_request(&request.headers) else { return Ok(None) };
        let Some(bytes) = requested.bytes(size) else { return Ok(None) };
        let remote = match download::first_gap(stored, &bytes) {
            None if is_public(stored) => None,
            None => {
                let mut head = request.clone();
                if let Operation::Blob { method, .. } = &mut head.operation {
                    *method = Method::Head;
                }
                head.headers.remove(&header::RANGE);
                let response = dispatch::respond(registry, &head, deadline).await?;
                let Some(proof) = PublicBlob::of_anonymous(&head, response.status) else { return Ok(None) };
                prove(&proof, stored);
                None
            }
            // The response to the request for what is missing is a proof, too.
            Some(gap) => {
                let Some(range) = ContentRange::new(gap.clone(), Some(size)) else { return Ok(None) };
                let mut ranged = request.clone();
                ranged.headers.insert(header::RANGE, range.to_range());
                ranged.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
                let Response { status, headers, body, .. } =
                    dispatch::respond(registry, &ranged, deadline).await?;
                let Some(remote) = Remote::of(body) else { return Ok(None) };
                let found = ContentRange::of_response(status, &headers, remote.length());
                let Some(proof) = PublicBlob::of_anonymous(&ranged, status) else { return Ok(None) };
                if found != Some(range) {
                    return Ok(None);
                }
                prove(&proof, stored);
                Some((gap.start, remote))
            }
        };
        let (status, headers) = head(request, requested, &bytes, size);
        let body = self.body(registry, request, stored.clone(), bytes, remote);
        Ok(Some(Response { status, headers, body, public_proof: None }))
    }

    /// The same response, whose body is kept while it is sent.
    async fn keep(
        &self,
        registry: &Arc<AuthorizedRegistry>,
        request: &Request,
        mut response: Response,
    ) -> Response {
        let Some(proof) = PublicBlob::of_anonymous(request, response.status) else { return response };
        let ResponseBody::Stream(download) = &response.body else { return response };
        let range = ContentRange::of_response(response.status, &response.headers, download.length());
        let size = range.as_ref().and_then(ContentRange::total).filter(|size| *size > 0);
        let (Some(range), Some(size)) = (range, size) else { return response };
        let stored = self.store.blob(&key(proof.digest()), size).await;
        if stored.size() != size {
            // A registry that names another size than the one of the right content.
            return response;
        }
        prove(&proof, &stored);
        let bytes = range.bytes().clone();
        if let Some(remote) = Remote::of(std::mem::replace(&mut response.body, ResponseBody::None)) {
            let remote = Some((bytes.start, remote));
            response.body = self.body(registry, request, stored, bytes, remote);
        }
        response
    }

    fn body(
        &self,
        registry: &Arc<AuthorizedRegistry>,
        request: &Request,
        stored: StoredBlob,
        bytes: Range<u64>,
        remote: Option<(u64, Remote)>,
    ) -> ResponseBody {
        let (registry, request) = (Arc::clone(registry), request.clone());
        let counter = Arc::clone(&self.bytes_served);
        let download = CachedDownload { stored, bytes, remote, registry, request, bytes_served: counter };
        ResponseBody::Stream(Box::new(Download::Cached(Box::new(download))))
    }
}

fn key(digest: &Digest) -> BlobKey {
    BlobKey { digest: digest.clone(), owner: BlobOwner::Public }
}

/// The proof is about the content of this blob.
fn prove(proof: &PublicBlob, stored: &StoredBlob) {
    debug_assert_eq!(proof.digest(), &stored.key().digest, "the proof is of another blob");
    stored.set_proven_public(SystemTime::now());
}

fn is_public(stored: &StoredBlob) -> bool {
    let proven = stored.proven_public();
    proven.is_some_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed < PUBLIC_FOR))
}

/// The head of a response with these bytes, as registries send it.
fn head(
    request: &Request,
    requested: RequestedBytes,
    bytes: &Range<u64>,
    size: u64,
) -> (StatusCode, Headers) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Operation::Blob { digest, .. } = &request.operation {
        // A digest has letters, digits and a few marks, which are a valid value.
        let value = HeaderValue::from_str(digest.as_str());
        headers.extend(value.map(|value| (DOCKER_CONTENT_DIGEST.clone(), value)).ok());
    }
    let status = requested.describe(bytes, size, &mut headers);
    (status, Headers::filter_response(&headers))
}
