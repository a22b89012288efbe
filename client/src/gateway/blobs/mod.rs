//! Answers requests for blobs from the disk, and from what already brings them to another engine; only the rest is
//! requested.
//!
//! Must never serve what its asker may not see: content is public if a request without a credential got it lately.
//! Anything else is served after its registry has shown it to the asker's own credential, in that repository, now. Must
//! never store what only a credential opens as public: what is stored as public is requested without one.

mod cache;
mod keep;

pub use cache::BlobCache;
pub(crate) use keep::KeepError;

use super::{Gateway, ResponseDeadline};
use crate::exchange;
use crate::metadata::cache::response;
use crate::transfer::{Found, RangeRequest, SharedBlobs, SharedReader, Transfer, TransferGuard};
use crate::tunnel::{Need, Session};
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::fault::Fault;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::requested_bytes::RequestedBytes;
use http::{HeaderMap, Response, StatusCode};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// A request for a blob.
struct BlobRequest {
    request: Request,
    requested: RequestedBytes,
    need: Need,
    deadline: ResponseDeadline,
    guard: TransferGuard,
}

impl Gateway {
    /// The response to a request for a blob.
    pub(super) async fn send_blob(
        &self,
        blobs: &SharedBlobs,
        request: Request,
        deadline: ResponseDeadline,
        guard: TransferGuard,
    ) -> Result<Response<Transfer>, Fault> {
        let need = Need::of(&request);
        let Some(requested) = RequestedBytes::of_request(&request.headers) else {
            return self.forward_as(need, request, deadline, guard).await;
        };
        if request.has_credential() {
            let public = request.clone().with_authorization(Authorization::Public);
            let is_known = blobs.find(&public).await.is_some_and(|found| found.is_public);
            if is_known || !self.private_repositories.contains(&request, Instant::now()) {
                let guard = guard.begin(&public);
                // Only a server that may see the request with its credential learns of it.
                let public = BlobRequest { request: public, requested, need, deadline, guard };
                match self.send_stored(blobs, public).await {
                    Ok(response) if is_refused(response.status()) => {
                        self.private_repositories.record(&request, Instant::now());
                    }
                    Ok(response) => return Ok(response),
                    // The registry may have nothing for anonymous requests.
                    Err(_) => {}
                }
            }
            if blobs.key(&request).is_none() {
                return self.forward_as(need, request, deadline, guard).await;
            }
        }
        self.send_stored(blobs, BlobRequest { request, requested, need, deadline, guard }).await
    }

    /// The same with this credential, whose content may be stored.
    async fn send_stored(
        &self,
        blobs: &SharedBlobs,
        asked: BlobRequest,
    ) -> Result<Response<Transfer>, Fault> {
        let BlobRequest { request, requested, deadline, .. } = &asked;
        blobs.requested(&self.context, request);
        let mut found = blobs.find(request).await;
        let mut first = None;
        if found.is_none() && request.operation.method() == Method::Get {
            // The one before it, if it is not refused, brings what this one needs.
            let first_request =
                timeout_at(deadline.head(Instant::now()).into(), blobs.first_request(request));
            first = first_request.await.ok().flatten();
            found = blobs.find(request).await;
        }
        if found.is_none() {
            found = self.ask_neighbours(blobs, request, *requested).await;
        }
        let found = found.and_then(|found| Some((requested.bytes(found.blob.size())?, found)));
        match found {
            Some((bytes, found)) => {
                drop(first);
                self.send_found(found, bytes, asked).await
            }
            None => self.send_asked(asked).await,
        }
    }

    /// The blob of a request, which a neighbour sends now. `None` if none does, or the request is for a small part of it:
    /// that would have to wait for the whole. Only for a digest that a public manifest names.
    async fn ask_neighbours(
        &self,
        blobs: &SharedBlobs,
        request: &Request,
        requested: RequestedBytes,
    ) -> Option<Found> {
        let (Operation::Blob { digest, method: Method::Get, .. }, false) =
            (&request.operation, request.has_credential())
        else {
            return None;
        };
        let size = self.context.metadata.cache.descriptor_index().public_blob_size(digest)?;
        let bytes = requested.bytes(size)?;
        if bytes.end - bytes.start < size / 2 {
            return None;
        }
        blobs.receive_from_neighbour(&self.context, request, size).await
    }

    async fn send_asked(&self, asked: BlobRequest) -> Result<Response<Transfer>, Fault> {
        let BlobRequest { request, need, deadline, guard, .. } = asked;
        self.forward_as(need, request, deadline, guard).await
    }

    async fn send_found(
        &self,
        found: Found,
        bytes: Range<u64>,
        asked: BlobRequest,
    ) -> Result<Response<Transfer>, Fault> {
        let BlobRequest { request, requested, need, deadline, guard } = &asked;
        let size = found.blob.size();
        let local_head = || {
            self.context.counters.local_responses.increment();
            let mut headers = response::blob_headers(request);
            (requested.describe(&bytes, size, &mut headers), headers)
        };
        if request.operation.method() == Method::Head {
            if !found.is_public && !self.is_shown(&found, &asked).await? {
                return self.send_asked(asked).await;
            }
            let head = local_head();
            return Ok(with_head(head, Transfer::of_bytes(Bytes::new(), asked.guard)));
        }
        let reader =
            SharedReader::new(&self.context, Arc::clone(&found.blob), request.clone(), bytes.clone());
        let Some(claim) = reader.claim() else {
            if !found.is_public && !self.is_shown(&found, &asked).await? {
                return self.send_asked(asked).await;
            }
            let head = local_head();
            return Ok(with_head(head, Transfer::of_shared(&self.context, reader, asked.guard)));
        };
        let range_request = RangeRequest::blob(request.clone(), Some(size));
        let ranged = range_request.request(claim.bytes());
        let (response, session) = self.forward_head(*need, ranged, *deadline, guard).await?;
        if !response.status.is_success() {
            return Ok(self.respond(asked.request, response, session, asked.guard).await);
        }
        let mut headers = response.headers.clone().into();
        if let Err(reason) = claim.begin_with(&self.context, range_request, response, session) {
            tracing::warn!(%reason, "the registry's blob is not the one on the disk");
            return self.send_asked(asked).await;
        }
        found.shown_to(request);
        let status = requested.describe(&bytes, size, &mut headers);
        Ok(with_head((status, headers), Transfer::of_shared(&self.context, reader, asked.guard)))
    }

    /// Whether the registry shows this blob to the request, now.
    async fn is_shown(&self, found: &Found, asked: &BlobRequest) -> Result<bool, Fault> {
        let BlobRequest { request, need, deadline, guard, .. } = asked;
        if let Some(blobs) = self.context.blobs.as_ref().filter(|_| !request.has_credential())
            && blobs.is_shown_ahead(&found.blob).await
        {
            return Ok(true);
        }
        let mut head = request.clone();
        if let Operation::Blob { method, .. } = &mut head.operation {
            *method = Method::Head;
        }
        head.headers.remove_conditional_fields();
        let (response, _) = self.forward_head(*need, head, *deadline, guard).await?;
        let is_shown = response.status.is_success();
        if is_shown {
            found.shown_to(request);
        }
        Ok(is_shown)
    }

    /// The blob that this response is of, as several readers share it: stored, and received once. Gives the response back if
    /// it is not to be stored.
    pub(super) async fn share(
        &self,
        request: &Request,
        response: exchange::Response,
        session: Session,
    ) -> Result<SharedReader, (exchange::Response, Session)> {
        let length = response.body.length();
        let range = ContentRange::of_response(response.status, &response.headers, length);
        let is_get = request.operation.method() == Method::Get;
        let (Some(blobs), Some(range)) = (&self.context.blobs, range.filter(|_| is_get)) else {
            return Err((response, session));
        };
        let (Some(key), Some(size)) = (blobs.key(request), range.total()) else {
            return Err((response, session));
        };
        let Some(blob) = blobs.open(&key, size).await else { return Err((response, session)) };
        if !request.has_credential() {
            blob.set_public();
        }
        let reader = SharedReader::new(&self.context, blob, request.clone(), range.bytes().clone());
        if let Some(claim) = reader.claim() {
            claim.begin_within(&self.context, request, &range, response, session);
        }
        Ok(reader)
    }

    /// A reader of these bytes, to the end, of the blob that the request is for: from the disk, and from what brings it. `None`
    /// if it is not to be stored.
    pub(super) async fn stored(&self, request: &Request, bytes: &Range<u64>) -> Option<SharedReader> {
        let blobs = self.context.blobs.as_ref()?;
        let public = request.clone().with_authorization(Authorization::Public);
        let is_known = blobs.find(&public).await.is_some_and(|found| found.is_public);
        let request = if is_known { &public } else { request };
        let key = blobs.key(request)?;
        let mut found = blobs.find(request).await;
        if found.is_none() {
            found = self.ask_neighbours(blobs, request, RequestedBytes::Whole).await;
        }
        if let Some(found) = found.filter(|found| !found.is_public) {
            let asked = BlobRequest {
                request: request.clone(),
                requested: RequestedBytes::Whole,
                need: Need::of(request),
                deadline: super::own_deadline(),
                guard: self.begin_own(request),
            };
            if !self.is_shown(&found, &asked).await.ok()? {
                return None;
            }
        }
        let blob = blobs.open(&key, bytes.end).await?;
        Some(SharedReader::new(&self.context, blob, request.clone(), bytes.clone()))
    }
}

/// A credential may help, or the content is elsewhere.
fn is_refused(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::RANGE_NOT_SATISFIABLE
}

fn with_head((status, headers): (StatusCode, HeaderMap), body: Transfer) -> Response<Transfer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
