//! A client that speaks the tunnel's protocol: it requests manifests and tokens, and reads the responses and the
//! prefetched items.
//! Must never cache, resume or check anything, as the real client does.

use docxy_protocol::{
    authorization::Authorization,
    chunk::ChunkHeader,
    frame,
    headers::Headers,
    link::Link,
    name::{Reference, Registry},
    prefetch::{LayerSegment, PrefetchHint, PrefetchItem},
    reply::{BodyFraming, Reply, Response},
    request::{Method, Operation, Request},
    token::TokenRequest,
};
use http::{HeaderMap, StatusCode};
use hub_stand_in::{Hub, LoggedRequest};
use quinn::{Connection, RecvStream, SendStream};
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{
    http_client::REQUEST_TIMEOUT,
    quic_client::{self, next_exchange, request_header},
    testbed::Testbed,
};

/// A client without a cache.
pub(crate) struct WireClient {
    connection: Connection,
    _control: (SendStream, RecvStream),
}

/// A request for a manifest, anonymous and at Docker Hub by default.
#[derive(Clone)]
pub(crate) struct ManifestRequest {
    registry: Registry,
    repository: String,
    reference: String,
    method: Method,
    authorization: Authorization,
    prefetch: Option<PrefetchHint>,
}

/// A response whose body was read, and whose stream continues.
pub(crate) struct WireResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    stream: RecvStream,
}

impl WireClient {
    pub(crate) async fn of(testbed: &mut Testbed) -> Self {
        let link: Link = crate::support::testbed::invite(&mut testbed.server, "wire-client").parse().unwrap();
        Self::with(testbed, &link).await
    }

    pub(crate) async fn with(testbed: &Testbed, link: &Link) -> Self {
        let connection = quic_client::dial(testbed, link).await;
        let control = quic_client::send_hello(&connection, link).await;
        Self { connection, _control: control }
    }

    pub(crate) async fn begin(&self, request: &ManifestRequest) -> RecvStream {
        quic_client::send_stream(&self.connection, &request.to_frame()).await
    }

    /// Sends a token request as it is. The real client would remove parts of it first.
    pub(crate) async fn token(
        &self,
        registry: &str,
        token: TokenRequest,
        authorization: Authorization,
    ) -> WireResponse {
        let request = Request::new(registry.parse().unwrap(), Operation::Token(token))
            .with_authorization(authorization);
        let bytes = request_header(next_exchange(), request);
        WireResponse::read(quic_client::send_stream(&self.connection, &bytes).await).await
    }

    /// Sends a request with so many segment streams for layers.
    pub(crate) async fn send_with_layers(
        &self,
        mut request: ManifestRequest,
        count: u32,
    ) -> (WireResponse, Vec<RecvStream>) {
        request.prefetch.as_mut().unwrap().layer_segments = count;
        let exchange = next_exchange();
        let response = quic_client::send_stream(&self.connection, &request.to_frame_of(exchange)).await;
        let mut segments = Vec::new();
        for n in 0..count {
            segments
                .push(quic_client::send_stream(&self.connection, &quic_client::segment(exchange, n)).await);
        }
        (WireResponse::read(response).await, segments)
    }

    pub(crate) async fn send(&self, request: &ManifestRequest) -> WireResponse {
        WireResponse::read(self.begin(request).await).await
    }
}

impl ManifestRequest {
    pub(crate) fn get(repository: &str, reference: impl ToString) -> Self {
        Self {
            registry: Registry::docker_hub(),
            repository: repository.to_owned(),
            reference: reference.to_string(),
            method: Method::Get,
            authorization: Authorization::Public,
            prefetch: None,
        }
    }

    pub(crate) fn head(repository: &str, reference: impl ToString) -> Self {
        Self { method: Method::Head, ..Self::get(repository, reference) }
    }

    pub(crate) fn with_hint(self, platform: &str) -> Self {
        let hint = PrefetchHint {
            platform: platform.parse().unwrap(),
            small_blobs: true,
            known: None,
            layer_segments: 0,
        };
        Self { prefetch: Some(hint), ..self }
    }

    /// Requests no prefetch if the tag still names this manifest.
    pub(crate) fn with_known(mut self, digest: impl ToString) -> Self {
        self.prefetch.as_mut().unwrap().known = Some(digest.to_string().parse().unwrap());
        self
    }

    /// Changes the registry.
    pub(crate) fn of(self, registry: &str) -> Self {
        Self { registry: registry.parse().unwrap(), ..self }
    }

    /// Adds the value of an `Authorization` header.
    pub(crate) fn by(self, bearer: &str) -> Self {
        Self { authorization: Authorization::parse(bearer), ..self }
    }

    fn to_frame(&self) -> Vec<u8> {
        self.to_frame_of(next_exchange())
    }

    fn to_frame_of(&self, exchange: u64) -> Vec<u8> {
        let reference: Reference = self.reference.parse().unwrap();
        let repository = self.repository.parse().unwrap();
        let mut accept = HeaderMap::new();
        accept.insert("accept", "*/*".parse().unwrap());
        let operation = Operation::Manifest { repository, reference, method: self.method };
        let mut request = Request::new(self.registry.clone(), operation)
            .with_authorization(self.authorization.clone())
            .with_headers(Headers::filter_request(&accept));
        request.prefetch = self.prefetch.clone();
        request_header(exchange, request)
    }
}

impl WireResponse {
    pub(crate) async fn read(mut stream: RecvStream) -> Self {
        let reply =
            timeout(REQUEST_TIMEOUT, frame::read(&mut stream)).await.expect("a response in time").unwrap();
        let Response { status, headers, body } = match reply {
            Reply::Response(response) => response,
            Reply::Fault(fault) => panic!("{fault}"),
        };
        assert!(matches!(body, BodyFraming::None | BodyFraming::Chunked { .. }));
        let mut read = Vec::new();
        loop {
            let mut header = [0; ChunkHeader::SIZE];
            timeout(REQUEST_TIMEOUT, stream.read_exact(&mut header)).await.expect("a body in time").unwrap();
            match ChunkHeader::from_bytes(header) {
                ChunkHeader::Data(count) => {
                    let from = read.len();
                    read.resize(from + count as usize, 0);
                    stream.read_exact(&mut read[from..]).await.unwrap();
                }
                ChunkHeader::End => break,
                ChunkHeader::Aborted => panic!("a body that was aborted"),
            }
        }
        Self { status, headers, body: read, stream }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message of an error in the registry's format.
    pub(crate) fn message(&self) -> String {
        let error: Value = serde_json::from_slice(&self.body).unwrap();
        error["errors"][0]["message"].as_str().unwrap().to_owned()
    }

    /// The prefetched items, to the end of the stream.
    pub(crate) async fn prefetched(mut self) -> Vec<(PrefetchItem, Vec<u8>)> {
        let rest = timeout(REQUEST_TIMEOUT, self.stream.read_to_end(16 * 1024 * 1024))
            .await
            .expect("an end in time");
        let mut rest = &rest.unwrap()[..];
        let mut items = Vec::new();
        while !rest.is_empty() {
            let (item, start) = frame::decode_prefix::<PrefetchItem>(rest).unwrap();
            let (bytes, following) = rest[start..].split_at(item.length());
            items.push((item, bytes.to_vec()));
            rest = following;
        }
        items
    }

    /// The digests of the prefetched items.
    pub(crate) async fn prefetched_digests(self) -> Vec<String> {
        self.prefetched().await.into_iter().map(|(item, _)| item.digest().to_string()).collect()
    }

    /// Cancels the prefetch.
    pub(crate) fn stop(mut self) {
        self.stream.stop(0_u32.into()).unwrap();
    }
}

/// What a segment stream for layers carries: which segment of which layer, and its bytes. `None` if it was reset.
pub(crate) async fn layer_segment(stream: RecvStream) -> Option<(LayerSegment, Vec<u8>)> {
    let bytes = quic_client::read_response(stream).await.ok()?;
    let (segment, start) = frame::decode_prefix::<LayerSegment>(&bytes).unwrap();
    Some((segment, bytes[start..].to_vec()))
}

/// `GET`s of manifests, which cost quota.
pub(crate) fn manifest_gets(hub: &Hub) -> usize {
    hub.request_log().count(|entry| is_manifest(entry) && entry.method == "GET")
}

/// `HEAD`s of manifests, which are free.
pub(crate) fn manifest_heads(hub: &Hub) -> usize {
    hub.request_log().count(|entry| is_manifest(entry) && entry.method == "HEAD")
}

fn is_manifest(entry: &LoggedRequest) -> bool {
    entry.path.contains("/manifests/")
}
