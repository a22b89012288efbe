//! What follows a manifest's answer: the parts of the image that the engine will ask for next, in the
//! order in which it will, for a client that wished for them.
//!
//! Asked for on behalf of whoever made the request: what the registry shows to everybody, or what the
//! request's own token opens, of which nothing is kept here. Nothing goes ahead that isn't what its
//! digest says. An answer never waits for any of this; where something isn't to be had, nothing more
//! follows.

use crate::exchange::{Ahead, SendError};
use crate::store;
use crate::upstream::{Answer, AnswerBody, Upstream};
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::limits::{PREFETCH_BLOB_MAX, PREFETCH_ITEMS_MAX, PREFETCH_MANIFEST_MAX};
use docxy_protocol::manifest::{Descriptor, ImageManifest, Manifest};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::prefetch::PrefetchHint;
use docxy_protocol::request::{Method, Operation, Request};
use futures_util::stream::{StreamExt as _, iter};
use http::{HeaderValue, StatusCode, header};
use std::collections::HashSet;
use std::sync::Arc;

/// Blobs that are fetched at a time behind one answer.
const BLOBS_AT_A_TIME: usize = 4;

/// What goes on behind an answer.
#[derive(Debug)]
pub(crate) struct Prefetch<'a> {
    request: &'a Request,
    wish: &'a PrefetchHint,
    upstream: &'a Upstream,
    digest: Digest,
    /// The manifest that was answered with, where a token opened it.
    answered: Option<Arc<store::Manifest>>,
}

impl<'a> Prefetch<'a> {
    /// What may follow this answer; `None` where nothing does.
    pub(crate) fn of(request: &'a Request, answer: &Answer, upstream: &'a Upstream) -> Option<Self> {
        let wish = request.prefetch.as_ref()?;
        let Operation::Manifest { reference, method, .. } = &request.operation else { return None };
        let allowed = match request.authorization {
            Authorization::Public => true,
            // Of what a token opens nothing is kept here, so all is paid for by its holder: only with a
            // pull under way.
            Authorization::Bearer(_) => *method == Method::Get,
            Authorization::None | Authorization::Basic(_) => false,
        };
        if !allowed || answer.status != StatusCode::OK {
            return None;
        }
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => answer.headers.get_str(&DOCKER_CONTENT_DIGEST)?.parse().ok()?,
        };
        if wish.known.as_ref() == Some(&digest) {
            return None;
        }
        let answered = match (&request.authorization, &answer.body) {
            // Fetched once more, it would be paid for once more. What is public is in the store.
            (Authorization::Bearer(_), AnswerBody::Small(bytes)) if bytes.len() <= PREFETCH_MANIFEST_MAX => {
                manifest(digest.clone(), answer.headers.clone(), bytes.clone())
            }
            _ => None,
        };
        Some(Self { request, wish, upstream, digest, answered })
    }

    /// Sends what there is, each part as soon as it is there.
    ///
    /// # Errors
    /// Where the client takes no more.
    pub(crate) async fn send(self, ahead: &mut Ahead) -> Result<(), SendError> {
        let top = match self.is_public() {
            true => self.manifest(&self.digest, true).await,
            false => self.answered.clone(),
        };
        let Some(top) = top else { return Ok(()) };
        if self.is_public() {
            self.upstream.remember(self.request, &self.digest);
        }
        if self.request.operation.method() == Method::Head && !ahead.manifest(&top).await? {
            return Ok(());
        }
        let image = match parse(&top) {
            Some(Manifest::Image(image)) => image,
            Some(Manifest::Index(entries)) => {
                let Ok(entry) = self.wish.platform.choose(&entries) else { return Ok(()) };
                let Some(chosen) = self.manifest(&entry.digest, false).await else { return Ok(()) };
                if !ahead.manifest(&chosen).await? {
                    return Ok(());
                }
                match parse(&chosen) {
                    Some(Manifest::Image(image)) => image,
                    _ => return Ok(()),
                }
            }
            None => return Ok(()),
        };
        if !self.wish.small_blobs {
            return Ok(());
        }
        let blobs = small_blobs(&image).into_iter();
        let mut fetched = iter(blobs.map(|blob| self.blob(blob))).buffered(BLOBS_AT_A_TIME);
        while let Some(Some((digest, bytes))) = fetched.next().await {
            if !ahead.blob(digest, bytes).await? {
                break;
            }
        }
        Ok(())
    }

    fn is_public(&self) -> bool {
        self.request.authorization == Authorization::Public
    }

    /// A manifest, if it is what it should be; `shown` if the registry has just shown it.
    async fn manifest(&self, digest: &Digest, shown: bool) -> Option<Arc<store::Manifest>> {
        if self.is_public() {
            return self.upstream.manifest(self.request, digest, shown).await;
        }
        let repository = self.request.operation.repository()?.clone();
        let reference = Reference::Digest(digest.clone());
        let answer = self.ask(Operation::Manifest { repository, reference, method: Method::Get }).await?;
        match (answer.status, answer.body) {
            (StatusCode::OK, AnswerBody::Small(bytes)) if bytes.len() <= PREFETCH_MANIFEST_MAX => {
                manifest(digest.clone(), answer.headers, bytes)
            }
            _ => None,
        }
    }

    /// What the registry answers to whoever made the request.
    async fn ask(&self, operation: Operation) -> Option<Answer> {
        let mut headers = self.request.headers.clone();
        headers.remove_conditional_fields();
        headers.set(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if matches!(operation, Operation::Blob { .. }) {
            // It is about manifests.
            headers.remove(&header::ACCEPT);
        }
        let (registry, authorization) = (self.request.registry.clone(), self.request.authorization.clone());
        self.upstream.ask(&Request { registry, operation, authorization, headers, prefetch: None }).await.ok()
    }

    /// A blob, if it is what it should be.
    async fn blob(&self, blob: Descriptor) -> Option<(Digest, Bytes)> {
        let repository = self.request.operation.repository()?.clone();
        let operation = Operation::Blob { repository, digest: blob.digest.clone(), method: Method::Get };
        let answer = self.ask(operation).await?;
        let (StatusCode::OK, AnswerBody::Stream(mut download)) = (answer.status, answer.body) else {
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
            tracing::warn!(expected = %blob.digest, %found, "a blob that should go ahead is another one");
            return None;
        }
        Some((blob.digest, bytes.into()))
    }
}

/// A manifest, if these are its bytes.
fn manifest(digest: Digest, headers: Headers, bytes: Bytes) -> Option<Arc<store::Manifest>> {
    store::Manifest::new(digest, headers, bytes).ok().map(Arc::new)
}

/// A manifest's parts, if it is small enough to be read between other work.
fn parse(manifest: &Arc<store::Manifest>) -> Option<Manifest> {
    if manifest.bytes.len() > PREFETCH_MANIFEST_MAX {
        return None;
    }
    Manifest::parse(&manifest.bytes, manifest.content_type()).ok()
}

/// Config and layers that are small enough, each once, in the order in which engines ask for them; no
/// more than may go ahead, since a manifest may name tens of thousands.
fn small_blobs(image: &ImageManifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    std::iter::once(&image.config)
        .chain(&image.layers)
        .filter(|blob| blob.size <= PREFETCH_BLOB_MAX as u64 && seen.insert(&blob.digest))
        .take(PREFETCH_ITEMS_MAX)
        .cloned()
        .collect()
}
