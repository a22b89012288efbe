//! Layers that are sent ahead of the engine's requests, on the segment streams that the client opened with its request
//! for the manifest.
//!
//! Must never send what is not public, or wait for a permit: what cannot begin now is left to the engine's own
//! requests. The first failure ends a layer, whose streams are then reset.

use super::Resources;
use super::body::{BodyError, SegmentedBody};
use super::prefetch::Prefetch;
use crate::exchange::streams::{ExchangeSegments, PREFETCH_URGENCY, ResponseStream, Turn, Undelivered};
use crate::upstream::{Download, Response, ResponseBody};
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::frame;
use docxy_protocol::limits::{
    INITIAL_SEGMENTS_MAX, PREFETCH_BLOB_BYTES_MAX, SEGMENT_BYTES, STREAM_HEADER_TIMEOUT,
};
use docxy_protocol::manifest::Descriptor;
use docxy_protocol::prefetch::LayerSegment;
use futures_util::FutureExt as _;
use futures_util::stream::{StreamExt as _, iter};
use std::collections::HashSet;

/// Maximum number of layers that are fetched at the same time for one image. Engines fetch three.
const CONCURRENT_LAYERS_MAX: usize = 4;

/// The segment streams that a client opened for layers.
pub(super) struct LayerStreams<'a> {
    pub(super) segments: ExchangeSegments,
    /// How many it opened.
    pub(super) count: u32,
    pub(super) resources: Resources<'a>,
}

/// The beginning of a layer, which has these streams.
struct LayerStart<'a> {
    layer: &'a Descriptor,
    streams: Vec<(ResponseStream, Turn)>,
}

impl LayerStreams<'_> {
    /// Sends as much of these layers as there are streams for. Returns how many bytes were sent.
    pub(super) async fn send(self, layers: &[Descriptor], prefetch: &Prefetch<'_>) -> u64 {
        let resources = self.resources;
        let starts = self.assign(layers).await;
        let sending: Vec<_> = starts.into_iter().map(|start| start.send(resources, prefetch)).collect();
        let mut sending = iter(sending).buffer_unordered(CONCURRENT_LAYERS_MAX);
        let mut bytes = 0;
        while let Some(sent) = sending.next().await {
            bytes += sent;
        }
        bytes
    }

    /// Says on each stream what it is for, and resets those that are left.
    async fn assign<'l>(mut self, layers: &'l [Descriptor]) -> Vec<LayerStart<'l>> {
        let mut turns = self.resources.queue.add(false);
        let mut starts: Vec<LayerStart<'l>> = Vec::new();
        let planned = plan(layers, self.count.min(INITIAL_SEGMENTS_MAX));
        for (stream, (layer, n)) in (0..).zip(planned) {
            // They came with the request, whose response took a while, so most likely all are here.
            let taken = tokio::time::timeout(STREAM_HEADER_TIMEOUT, self.segments.take(stream)).await;
            let Ok(mut stream) = taken else { break };
            let Ok(head) = frame::encode(&LayerSegment { digest: layer.digest.clone(), n }) else { break };
            stream.set_urgency(PREFETCH_URGENCY);
            if n == 0 {
                starts.push(LayerStart { layer, streams: Vec::new() });
            }
            let Some(start) = starts.last_mut() else { break };
            // One that the client has stopped fails when its bytes are sent.
            let _ = stream.send(head.into()).await;
            start.streams.push((stream, turns.next_turn()));
        }
        starts
    }
}

impl LayerStart<'_> {
    /// Sends the bytes that the streams are for. Returns how many were sent.
    async fn send(self, resources: Resources<'_>, prefetch: &Prefetch<'_>) -> u64 {
        let Self { layer, streams } = self;
        let length = layer.size.min(streams.len() as u64 * u64::from(SEGMENT_BYTES));
        let Some(Ok(permit)) = resources.admission.acquire().now_or_never() else { return 0 };
        let response = prefetch.fetch_layer(layer, length).await;
        let Some(mut download) = response.and_then(|response| beginning(response, layer.size)) else {
            return 0;
        };
        let undelivered = Undelivered::default();
        let mut body = SegmentedBody::new(&mut download, resources, &undelivered, &permit);
        let mut sent = 0;
        for (mut stream, turn) in streams {
            let bytes = u64::from(SEGMENT_BYTES).min(length - sent);
            turn.apply_to(&mut stream);
            let written = body.send(&mut stream, bytes).await;
            let finished = written
                .and_then(|()| undelivered.finish(stream, Some(turn)).map_err(|_| BodyError::Cancelled));
            if let Err(reason) = finished {
                tracing::debug!(digest = %layer.digest, sent, ?reason, "a layer ahead was not sent to its end");
                break;
            }
            sent += bytes;
        }
        drop(permit);
        undelivered.delivered().await;
        sent
    }
}

/// The body of a response that begins with the first byte of a layer of this size.
fn beginning(response: Response, size: u64) -> Option<Box<Download>> {
    let ResponseBody::Stream(download) = response.body else { return None };
    let range = ContentRange::of_response(response.status, &response.headers, download.length())?;
    (range.bytes().start == 0 && range.total() == Some(size)).then_some(download)
}

/// Which segment of which layer each of `streams` is for: the layers in their order, each once and to its end. Small ones
/// follow their manifest, as [items](docxy_protocol::prefetch::PrefetchItem).
fn plan(layers: &[Descriptor], streams: u32) -> impl Iterator<Item = (&Descriptor, u32)> {
    let mut seen = HashSet::new();
    let large = layers.iter().filter(|layer| layer.size > PREFETCH_BLOB_BYTES_MAX as u64);
    large
        .filter(move |layer| seen.insert(&layer.digest))
        .flat_map(|layer| {
            let count = layer.size.div_ceil(u64::from(SEGMENT_BYTES));
            (0..u32::try_from(count).unwrap_or(u32::MAX)).map(move |n| (layer, n))
        })
        .take(streams as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_for_the_layers_in_order_each_to_its_end() {
        const SEGMENT: u64 = SEGMENT_BYTES as u64;
        let layer = |n: u64, size| {
            let json =
                serde_json::json!({ "mediaType": "m", "digest": format!("sha256:{n:064}"), "size": size });
            serde_json::from_value::<Descriptor>(json).unwrap()
        };
        let small = layer(9, PREFETCH_BLOB_BYTES_MAX as u64);
        let layers = [
            layer(1, 2 * SEGMENT),
            small,
            layer(1, 2 * SEGMENT),
            layer(2, SEGMENT + 1),
            layer(3, 100 * SEGMENT),
        ];
        let planned = |streams| {
            let planned = plan(&layers, streams).map(|(layer, n)| (layer.digest.as_str().ends_with('1'), n));
            planned.collect::<Vec<_>>()
        };
        assert_eq!(planned(0), []);
        assert_eq!(planned(3), [(true, 0), (true, 1), (false, 0)]);
        assert_eq!(
            planned(7),
            [planned(3), [(false, 1), (false, 0), (false, 1), (false, 2)].to_vec()].concat()
        );
    }
}
