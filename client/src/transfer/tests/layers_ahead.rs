//! Layers that the server sends before an engine requests them.

use super::server::{chunk, respond};
use super::*;
use crate::tunnel::{Congestion, Server, ServerState, TunnelStatus};
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::control::{SegmentHeader, StreamHeader};
use docxy_protocol::frame;
use docxy_protocol::headers::DOCKER_CONTENT_DIGEST;
use docxy_protocol::name::{Digest, Reference, Repository};
use docxy_protocol::prefetch::{ContentKind, LayerSegment, PrefetchItem};
use docxy_protocol::reply::BodyFraming;
use docxy_transport::test_legs::Pair;
use docxy_transport::{SendStream, Session as Transport};
use http::{HeaderMap, header};
use std::collections::BTreeMap;
use std::time::SystemTime;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layer of three segments, of which the last is short.
const LENGTH: u64 = 2 * SEGMENT_BYTES as u64 + 1000;

/// The layer after it, which the server does not send ahead.
const NEXT_LENGTH: u64 = 300_000;

/// A line on which a round trip carries many segments, although it is this machine's loopback.
const RATE: f64 = 1e13;

struct Layer {
    digest: Digest,
    bytes: Bytes,
}

impl Layer {
    fn new(length: u64) -> Self {
        let bytes: Bytes = (0..length).map(|n| (n % 249) as u8).collect::<Vec<_>>().into();
        Self { digest: Digester::sha256().digest(&bytes), bytes }
    }
}

/// A client that keeps layers, and its server, which the test plays.
struct Ahead {
    gateway: Gateway,
    pair: Pair,
    layer: Layer,
    next: Layer,
    _cache: tempfile::TempDir,
}

impl Ahead {
    async fn begin(leg: TestLeg) -> Self {
        let pair = leg.connect().await;
        let server = Server::of_rate(RATE);
        let session = Session::new(pair.client.clone(), Congestion::default(), Arc::clone(&server));
        let up = TunnelStatus::Up { session: Box::new(session), since: SystemTime::now() };
        let (_, servers) = watch::channel(vec![ServerState::of_test(server, up)]);
        let cache = tempfile::tempdir().unwrap();
        let limits = Some(BlobLimits::default());
        let blobs = BlobSettings { limits, keeps_private: false, public_for: Duration::from_secs(60) };
        let gateway = Gateway::new(Tunnel::of_servers(servers), STALL_TIMEOUT, Metadata::open(None))
            .with_blob_cache(BlobCache::open(Some(cache.path()), blobs, Duration::ZERO));
        Self { gateway, pair, layer: Layer::new(LENGTH), next: Layer::new(NEXT_LENGTH), _cache: cache }
    }

    /// Sends a request of dockerd.
    async fn send(&self, operation: Operation) -> Transfer {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, "docker/29.0.1 go/go1.25.4".parse().unwrap());
        let request = Request::new("docker.io".parse().unwrap(), operation)
            .with_authorization(Authorization::Public)
            .with_headers(Headers::filter_request(&headers));
        let timeout = Duration::from_secs(20);
        let deadline = ResponseDeadline::patient(Deadline::including_first_connect(timeout), timeout);
        let engine = Engine::new(1, &HeaderMap::new());
        in_time(self.gateway.send(request, &engine, deadline)).await.unwrap().into_body()
    }

    async fn head(&self, repository: &Repository) {
        let reference = Reference::Tag("latest".parse().unwrap());
        self.send(Operation::Manifest { repository: repository.clone(), reference, method: Method::Head })
            .await;
    }

    /// Reads a layer.
    async fn pull(&self, repository: &Repository, layer: &Layer) -> Vec<u8> {
        let (repository, digest) = (repository.clone(), layer.digest.clone());
        let mut body = self.send(Operation::Blob { repository, digest, method: Method::Get }).await;
        let mut received = Vec::new();
        while let Some(bytes) = in_time(body.next()).await.unwrap() {
            received.extend_from_slice(&bytes);
        }
        received
    }

    /// Responds to a `HEAD` of the manifest, and prefetches that. Returns the streams for layers.
    async fn answer_head(&self) -> BTreeMap<u32, SendStream> {
        let (request, mut stream, mut segments) = accept_request(&self.pair.server).await;
        let count = request.prefetch.unwrap().layer_segments as usize;
        while segments.len() < count {
            let (header, segment) = accept(&self.pair.server).await;
            let StreamHeader::Segment(SegmentHeader { n, .. }) = header else { panic!("{header:?}") };
            segments.insert(n, segment);
        }
        let config = format!("sha256:{:064}", 7);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": { "mediaType": "c", "digest": config, "size": 7 },
            "layers": [
                { "mediaType": "l", "digest": self.layer.digest, "size": LENGTH },
                { "mediaType": "l", "digest": self.next.digest, "size": NEXT_LENGTH },
            ],
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest = Digester::sha256().digest(&manifest);
        let mut headers = HeaderMap::new();
        headers.insert(&DOCKER_CONTENT_DIGEST, digest.as_str().parse().unwrap());
        respond(&mut stream, 200, Headers::filter_response(&headers), BodyFraming::None).await.unwrap();
        stream.send(Bytes::copy_from_slice(&ChunkHeader::End.to_bytes())).await.unwrap();
        let kind = ContentKind::Manifest { content_type: MANIFEST.to_owned() };
        let item = PrefetchItem::new(digest, kind, manifest.len()).unwrap();
        stream.send(frame::encode(&item).unwrap().into()).await.unwrap();
        stream.send(manifest).await.unwrap();
        stream.finish().unwrap();
        segments
    }

    /// Says on a stream which segment of the layer it carries, and sends that.
    async fn fill(&self, stream: &mut SendStream, n: u32) {
        let head = LayerSegment { digest: self.layer.digest.clone(), n };
        stream.send(frame::encode(&head).unwrap().into()).await.unwrap();
        let range = head.range(LENGTH);
        // The client may have stopped it.
        let _ = stream.send(self.layer.bytes.slice(range.start as usize..range.end as usize)).await;
    }

    /// Sends what the next request is for. Returns its range.
    async fn serve(&self) -> String {
        let (request, mut stream, _) = accept_request(&self.pair.server).await;
        let Operation::Blob { digest, .. } = &request.operation else { panic!("{request:?}") };
        let layer = if *digest == self.next.digest { &self.next } else { &self.layer };
        let range = request.headers.get_str(&header::RANGE).unwrap_or_default().to_owned();
        let start = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
        let (mut headers, total) = (HeaderMap::new(), layer.bytes.len());
        let mut status = 200;
        if start > 0 {
            status = 206;
            let part = format!("bytes {start}-{}/{total}", total - 1);
            headers.insert(header::CONTENT_RANGE, part.parse().unwrap());
        }
        let length = Some((total - start) as u64);
        let headers = Headers::filter_response(&headers);
        respond(&mut stream, status, headers, BodyFraming::Chunked { length }).await.unwrap();
        for piece in layer.bytes[start..].chunks(30_000) {
            chunk(&mut stream, piece).await.unwrap();
        }
        stream.send(Bytes::copy_from_slice(&ChunkHeader::End.to_bytes())).await.unwrap();
        stream.finish().unwrap();
        range
    }

    fn bytes_crossed(&self) -> u64 {
        self.gateway.counters()["transfers"]["bytes_crossed"].as_u64().unwrap()
    }

    fn layer_bytes(&self) -> (u64, u64) {
        let counters = self.gateway.counters();
        let count = |name: &str| counters["prefetch"][name].as_u64().unwrap();
        (count("layer_bytes"), count("layer_bytes_in_vain"))
    }
}

async fn accept(server: &Transport) -> (StreamHeader, SendStream) {
    let (send, mut receive) = in_time(server.accept()).await.unwrap();
    (receive.read_frame().await.unwrap(), send)
}

/// The next request, and the segment streams before it.
async fn accept_request(server: &Transport) -> (Request, SendStream, BTreeMap<u32, SendStream>) {
    let mut segments = BTreeMap::new();
    loop {
        match accept(server).await {
            (StreamHeader::Request(header), stream) => {
                // Those of an earlier request for a blob may come late.
                let own = segments.into_iter().filter(|((exchange, _), _)| *exchange == header.exchange.0);
                return (header.request, stream, own.map(|((_, n), stream)| (n, stream)).collect());
            }
            (StreamHeader::Segment(SegmentHeader { exchange, n }), stream) => {
                segments.insert((exchange.0, n), stream);
            }
            (StreamHeader::Echo, _) => {}
        }
    }
}

#[tokio::test]
async fn an_engine_gets_what_came_ahead_and_only_the_rest_is_requested() {
    for leg in [TestLeg::Quic, TestLeg::Tcp] {
        let ahead = Ahead::begin(leg).await;
        let (here, there) = ("library/here".parse().unwrap(), "library/there".parse().unwrap());
        let ((), mut segments) = tokio::join!(ahead.head(&here), ahead.answer_head());
        assert!(segments.len() > 3, "{leg:?}: {}", segments.len());
        let rest = u64::from(SEGMENT_BYTES);
        let mut first = segments.remove(&1).unwrap();
        ahead.fill(&mut first, 0).await;
        first.finish().unwrap();
        // The others are reset.
        drop(segments);
        in_time(async {
            while ahead.bytes_crossed() < rest {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // The next layer is requested with it.
        let server = async { [ahead.serve().await, ahead.serve().await] };
        let (received, mut ranges) = tokio::join!(ahead.pull(&here, &ahead.layer), server);
        assert!(received == ahead.layer.bytes, "{leg:?}");
        ranges.sort();
        assert_eq!(ranges, [String::new(), format!("bytes={rest}-")], "{leg:?}");
        assert!(ahead.pull(&here, &ahead.next).await == ahead.next.bytes, "{leg:?}: without a request");

        // A repository from which an engine has pulled: no layer comes ahead.
        let ((), segments) = tokio::join!(ahead.head(&here), ahead.answer_head());
        assert!(segments.is_empty(), "{leg:?}");
        assert_eq!(ahead.layer_bytes().1, 0, "{leg:?}: nothing came in vain");
        // Another image with a layer that is here.
        let ((), mut segments) = tokio::join!(ahead.head(&there), ahead.answer_head());
        let segment = segments.get_mut(&0).unwrap();
        ahead.fill(segment, 0).await;
        in_time(segment.stopped()).await;
        in_time(async {
            let used = || ahead.layer_bytes().0 - ahead.layer_bytes().1;
            while used() < rest + NEXT_LENGTH {
                tokio::task::yield_now().await;
            }
            assert_eq!(used(), rest + NEXT_LENGTH, "{leg:?}");
        })
        .await;
    }
}
