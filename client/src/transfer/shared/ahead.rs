//! Receives segments of layers that the server sends before an engine requests them, as flights that no reader has claimed.
//!
//! Must never delay a reader: what does not come soon is given up, and the reader requests it.

use super::flight::FlightGuard;
use super::shared_blob::SharedBlob;
use super::shared_blobs::SharedBlobs;
use crate::exchange::LayerStream;
use crate::transfer::TransferContext;
use docxy_host::blob_store::{BlobKey, BlobOwner};
use docxy_protocol::prefetch::LayerSegment;
use futures_util::future::join_all;
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
        let bytes = segment.range(size);
        Some((self.open(&key, size).await?, bytes))
    }
}
