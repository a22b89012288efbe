//! Prefetch: after the response with a manifest, sends the parts of the image that the engine will request
//! next, in that order, if the client's request has a prefetch hint.
//!
//! All of it is fetched with the request's own rights: public content, or content that its token permits,
//! which the server does not store. Must never send content that does not match its digest, or delay the
//! response. The first failure ends the prefetch.

use crate::exchange::streams::PrefetchWriter;
use crate::upstream::store;
use crate::upstream::{PublicProof, Response, ResponseBody, Upstream};
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::{PREFETCH_BLOB_BYTES_MAX, PREFETCH_ITEMS_MAX, PREFETCH_MANIFEST_BYTES_MAX};
use docxy_protocol::manifest::{Descriptor, ImageManifest, Manifest};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::prefetch::{ContentKind, PrefetchHint};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_transport::SendError;
use futures_util::stream::{StreamExt as _, iter};
use http::{HeaderValue, StatusCode, header};
use std::collections::HashSet;
use std::sync::Arc;

/// Maximum number of blobs that are fetched concurrently for one response.
const CONCURRENT_BLOBS_MAX: usize = 4;

/// The prefetch after one response.
#[derive(Debug)]
pub(crate) struct Prefetch<'a> {
    request: &'a Request,
    hint: &'a PrefetchHint,
    upstream: &'a Upstream,
    digest: Digest,
    access: Access,
}

/// Who may read the content.
#[derive(Debug)]
enum Access {
    /// Everybody, with the proof of the response, if it is new.
    Public(Option<PublicProof>),
    /// Who has the request's token. It has the manifest in the response.
    Private(Option<Arc<store::StoredManifest>>),
}

impl<'a> Prefetch<'a> {
    /// The prefetch for this response; `None` if there is none.
    pub(crate) fn new(request: &'a Request, response: &Response, upstream: &'a Upstream) -> Option<Self> {
        let hint = request.prefetch.as_ref()?;
        let Operation::Manifest { reference, method, .. } = &request.operation else { return None };
        if response.status != StatusCode::OK {
            return None;
        }
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => Digest::of_response(&response.headers)?,
        };
        if hint.known.as_ref() == Some(&digest) {
            return None;
        }
        if let (Method::Get, ResponseBody::Small(bytes)) = (method, &response.body)
            && (bytes.len() > PREFETCH_MANIFEST_BYTES_MAX
                || Digester::matching(&digest).digest(bytes) != digest)
        {
            // It names too much, or the reported digest is wrong: a fetch by it would be in vain.
            return None;
        }
        let access = match (&request.authorization, method, &response.body) {
            (Authorization::Public, ..) => Access::Public(response.public_proof.clone()),
            // Private content is prefetched only after a GET, since each fetch counts against that account. A second
            // fetch of this manifest would count again.
            (Authorization::Bearer(_) | Authorization::Login(_), Method::Get, ResponseBody::Small(bytes)) => {
                Access::Private(checked(digest.clone(), response.headers.clone(), bytes.clone()))
            }
            _ => return None,
        };
        Some(Self { request, hint, upstream, digest, access })
    }

    /// How many segment streams the client has opened for layers.
    pub(super) const fn layer_segments(&self) -> u32 {
        self.hint.layer_segments
    }

    /// Whether the image is public.
    pub(super) const fn is_public(&self) -> bool {
        matches!(self.access, Access::Public(_))
    }

    /// Sends the manifests, each as soon as it is fetched. Returns that of the image, if it is found.
    ///
    /// # Errors
    /// If the client has stopped reading.
    pub(super) async fn send_manifests(
        &self,
        writer: &mut PrefetchWriter,
    ) -> Result<Option<ImageManifest>, SendError> {
        let top = match &self.access {
            Access::Public(proof) => {
                let top = self.upstream.public_manifest(self.request, &self.digest, proof.as_ref()).await;
                if top.is_some() {
                    self.upstream.record_tag(self.request, &self.digest);
                }
                top
            }
            Access::Private(manifest) => manifest.clone(),
        };
        let Some(top) = top else { return Ok(None) };
        if self.request.operation.method() == Method::Head && !writer.write_manifest(&top).await? {
            return Ok(None);
        }
        match parse(&top) {
            Some(Manifest::Image(image)) => Ok(Some(image)),
            Some(Manifest::Index(entries)) => {
                let Ok(entry) = self.hint.platform.choose(&entries) else { return Ok(None) };
                let Some(chosen) = self.fetch_manifest(&entry.digest).await else { return Ok(None) };
                if !writer.write_manifest(&chosen).await? {
                    return Ok(None);
                }
                match parse(&chosen) {
                    Some(Manifest::Image(image)) => Ok(Some(image)),
                    _ => Ok(None),
                }
            }
            None => Ok(None),
        }
    }

    /// Sends the small blobs of an image, each as soon as it is fetched.
    ///
    /// # Errors
    /// If the client has stopped reading.
    pub(super) async fn send_blobs(
        &self,
        image: &ImageManifest,
        writer: &mut PrefetchWriter,
    ) -> Result<(), SendError> {
        if !self.hint.small_blobs {
            return Ok(());
        }
        let blobs = small_blobs(image).into_iter();
        let mut fetched = iter(blobs.map(|blob| self.fetch_blob(blob))).buffered(CONCURRENT_BLOBS_MAX);
        while let Some(Some((digest, bytes))) = fetched.next().await {
            if !writer.write_item(digest, ContentKind::Blob, bytes).await? {
                break;
            }
        }
        Ok(())
    }

    /// Fetches a manifest, if it matches its digest.
    async fn fetch_manifest(&self, digest: &Digest) -> Option<Arc<store::StoredManifest>> {
        if matches!(self.access, Access::Public(_)) {
            return self.upstream.public_manifest(self.request, digest, None).await;
        }
        let repository = self.request.operation.repository()?.clone();
        let reference = Reference::Digest(digest.clone());
        let operation = Operation::Manifest { repository, reference, method: Method::Get };
        let response = self.upstream.send(&self.request(operation)).await.ok()?;
        match (response.status, response.body) {
            (StatusCode::OK, ResponseBody::Small(bytes)) if bytes.len() <= PREFETCH_MANIFEST_BYTES_MAX => {
                checked(digest.clone(), response.headers, bytes)
            }
            _ => None,
        }
    }

    /// Requests the first bytes of a layer.
    pub(super) async fn fetch_layer(&self, layer: &Descriptor, length: u64) -> Option<Response> {
        let repository = self.request.operation.repository()?.clone();
        let operation = Operation::Blob { repository, digest: layer.digest.clone(), method: Method::Get };
        let mut request = self.request(operation);
        if length < layer.size {
            let range = ContentRange::new(0..length, Some(layer.size))?;
            request.headers.insert(header::RANGE, range.to_range());
        }
        self.upstream.send(&request).await.ok()
    }

    /// Another operation with the request's credential.
    fn request(&self, operation: Operation) -> Request {
        let mut headers = self.request.headers.clone();
        headers.remove_conditional_fields();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if matches!(operation, Operation::Blob { .. }) {
            // It lists manifest types.
            headers.remove(&header::ACCEPT);
        }
        Request::new(self.request.registry.clone(), operation)
            .with_authorization(self.request.authorization.clone())
            .with_headers(headers)
    }

    /// Fetches a blob, if it matches its digest.
    async fn fetch_blob(&self, blob: Descriptor) -> Option<(Digest, Bytes)> {
        let repository = self.request.operation.repository()?.clone();
        let operation = Operation::Blob { repository, digest: blob.digest.clone(), method: Method::Get };
        let response = self.upstream.send(&self.request(operation)).await.ok()?;
        let (StatusCode::OK, ResponseBody::Stream(mut download)) = (response.status, response.body) else {
            return None;
        };
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).ok()?);
        while let Some(chunk) = download.next().await.ok()? {
            if (bytes.len() + chunk.len()) as u64 > blob.size {
                return None;
            }
            bytes.extend_from_slice(&chunk);
        }
        let found = Digester::matching(&blob.digest).digest(&bytes);
        if found != blob.digest {
            tracing::warn!(expected = %blob.digest, %found, "a prefetched blob does not match its digest");
            return None;
        }
        Some((blob.digest, bytes.into()))
    }
}

/// A manifest, if the bytes match the digest.
fn checked(digest: Digest, headers: Headers, bytes: Bytes) -> Option<Arc<store::StoredManifest>> {
    store::StoredManifest::new(digest, headers, bytes).ok().map(Arc::new)
}

/// Parses a manifest, if it is small enough not to block other tasks.
fn parse(manifest: &Arc<store::StoredManifest>) -> Option<Manifest> {
    if manifest.bytes().len() > PREFETCH_MANIFEST_BYTES_MAX {
        return None;
    }
    Manifest::parse(manifest.bytes(), manifest.content_type()).ok()
}

/// The small blobs of an image, config first, each once, in the order in which engines request them. At
/// most as many as may be prefetched, since a manifest may list tens of thousands.
fn small_blobs(image: &ImageManifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    std::iter::once(&image.config)
        .chain(&image.layers)
        .filter(|blob| blob.size <= PREFETCH_BLOB_BYTES_MAX as u64 && seen.insert(&blob.digest))
        .take(PREFETCH_ITEMS_MAX)
        .cloned()
        .collect()
}
