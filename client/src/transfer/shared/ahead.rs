//! Layers that come before an engine requests them, as flights that no reader has claimed: segments that the server sends
//! with a manifest, and then the beginnings of the layers that follow one that an engine requests.
//!
//! Must never delay a reader: what does not come soon is given up, and the reader requests it.

use super::flight::FlightGuard;
use super::shared_blob::SharedBlob;
use super::shared_blobs::SharedBlobs;
use crate::exchange::LayerStream;
use crate::transfer::TransferContext;
use crate::transfer::part::Part;
use crate::transfer::range_request::RangeRequest;
use crate::transfer::resume::Source;
use crate::tunnel::{ServerState, Tunnel};
use docxy_host::blob_store::{BlobKey, BlobOwner};
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_protocol::prefetch::LayerSegment;
use docxy_protocol::request::{Method, Operation, Request};
use futures_util::future::{FutureExt as _, join_all};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a stream may be silent. A reader that waits for it could have fetched the bytes itself by then.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How long an engine may take to request a layer. After that its bytes came in vain.
const UNREAD_MAX: Duration = Duration::from_secs(60);

impl SharedBlobs {
    /// Receives what the server sends on these streams, which a request for a public image has opened.
    pub(crate) fn receive_ahead(&self, context: &TransferContext, streams: Vec<LayerStream>) {
        if streams.is_empty() {
            return;
        }
        let (blobs, context) = (self.clone(), context.clone());
        tokio::spawn(async move {
            join_all(streams.into_iter().map(|stream| blobs.receive_segment(&context, stream))).await;
        });
    }

    /// Receives one segment, and waits until an engine requests its layer.
    async fn receive_segment(&self, context: &TransferContext, mut stream: LayerStream) {
        let Ok(Ok(segment)) = timeout(SILENCE_MAX, stream.head()).await else { return };
        let usage = &context.metadata.prefetch_usage;
        let Some((blob, bytes)) = self.blob_of(context, &segment).await else {
            return usage.layers_in_vain(stream.stop());
        };
        let Some(flight) = FlightGuard::ahead(&blob, bytes.clone()) else {
            return usage.layers_in_vain(stream.stop());
        };
        let mut at = bytes.start;
        while at < bytes.end
            && let Ok(Ok(Some(chunk))) = timeout(SILENCE_MAX, stream.next()).await
            && at + chunk.len() as u64 <= bytes.end
        {
            if at == bytes.start {
                // The server sends what its registry has sent without a credential.
                blob.set_public();
            }
            let length = chunk.len() as u64;
            flight.arrived(at, chunk);
            at += length;
            context.counters.bytes_crossed.add(length);
        }
        if at < bytes.end {
            tracing::debug!(digest = %segment.digest, n = segment.n, missing = bytes.end - at, "a segment ahead ended early");
        }
        drop((flight, stream));
        let is_read = timeout(UNREAD_MAX, blob.is_read()).await.is_ok();
        usage.layers_arrived(at - bytes.start, is_read);
    }

    /// The layer of a segment, and the bytes of the segment. `None` if they are not wanted.
    async fn blob_of(
        &self,
        context: &TransferContext,
        segment: &LayerSegment,
    ) -> Option<(Arc<SharedBlob>, Range<u64>)> {
        // The manifest is on its way, if it is not here. Only what it names is stored.
        let index = context.metadata.cache.descriptor_index();
        let size = timeout(SILENCE_MAX, index.blob_size(&segment.digest)).await.ok()?;
        let key = BlobKey { digest: segment.digest.clone(), owner: BlobOwner::Public };
        if let Some(image) = index.image_of(&segment.digest) {
            self.expected.insert(&image);
        }
        let bytes = segment.range(size);
        Some((self.open(&key, size).await?, bytes))
    }

    /// An engine requests a blob. If it is a layer of an image that came ahead, the next layers begin to come too, as much of
    /// them as a round trip of the line holds. Engines request three at a time, and another one when one has ended: its
    /// round trip would leave the line idle.
    pub(crate) fn requested(&self, context: &TransferContext, request: &Request) {
        let Operation::Blob { digest, method: Method::Get, .. } = &request.operation else { return };
        if request.has_credential() {
            return;
        }
        let bytes = round_trip_bytes(&context.tunnel);
        for (next, size) in self.expected.requested(digest, bytes) {
            let (blobs, context, mut request) = (self.clone(), context.clone(), request.clone());
            if let Operation::Blob { digest, .. } = &mut request.operation {
                *digest = next;
            }
            tokio::spawn(async move { blobs.fetch_ahead(&context, request, size, bytes.min(size)).await });
        }
    }

    /// Requests the first bytes of a blob of this size, unless an engine does.
    async fn fetch_ahead(&self, context: &TransferContext, request: Request, size: u64, bytes: u64) {
        // Its response brings them.
        let Some(first) = self.first_request(&request).now_or_never().flatten() else { return };
        let Some(key) = self.key(&request) else { return };
        let Some(blob) = self.open(&key, size).await else { return };
        let Some(missing) = blob.stored.missing(0..bytes).into_iter().next() else { return };
        let Some(flight) = FlightGuard::ahead(&blob, missing.clone()) else { return };
        drop(first);
        let source = Source::new(context, RangeRequest::blob(request, Some(size)), None).after_response();
        flight.run(missing.start, Part::missing(missing.end), source).await;
        let length = |range: &Range<u64>| range.end - range.start;
        let arrived = length(&missing) - blob.stored.missing(missing).iter().map(length).sum::<u64>();
        let is_read = timeout(UNREAD_MAX, blob.is_read()).await.is_ok();
        context.metadata.prefetch_usage.layers_arrived(arrived, is_read);
    }
}

/// Bytes that arrive in a round trip over the line in use; 0 while its rate is not known.
fn round_trip_bytes(tunnel: &Tunnel) -> u64 {
    let server = tunnel.in_use();
    let session = server.as_ref().and_then(ServerState::session);
    let segments = session.map_or(0, |session| session.segment_budget().share().round_trip_segments());
    u64::from(segments) * u64::from(SEGMENT_BYTES)
}
