//! A QUIC client that sends any bytes to the server, in any order.
//! Must never check what it sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use docxy_protocol::{
    authorization::Authorization,
    congestion::{Choice, Handle},
    control::{CloseCode, ExchangeId, Hello, RequestHeader, SegmentHeader, StreamHeader},
    frame,
    link::Link,
    name::Registry,
    request::{Method, Operation, Request},
    version::WIRE_VERSION,
};
use docxy_transport::quic::{settings, tls};
use http::StatusCode;
use hub_stand_in::Blob;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ReadToEndError, RecvStream, SendStream,
    TransportConfig,
};
use tokio::time::timeout;

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    testbed::Testbed,
};

/// A connection without a Hello.
pub(crate) async fn dial(testbed: &Testbed, link: &Link) -> Connection {
    dial_with(testbed, link, settings::client_config(&Handle::default())).await
}

/// The same with these transport settings.
pub(crate) async fn dial_with(testbed: &Testbed, link: &Link, transport: TransportConfig) -> Connection {
    let mut config = ClientConfig::new(Arc::new(tls::client_config(link.pin, WIRE_VERSION, false).unwrap()));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, testbed.server.address(), "docxy.invalid").unwrap();
    let connection = timeout(REQUEST_TIMEOUT, connecting).await.unwrap().unwrap();
    // The server finishes the handshake later than the client, and until then closes without an application code.
    let confirmed = async {
        while connection.stats().frame_rx.handshake_done == 0 {
            assert!(connection.close_reason().is_none(), "{:?}", connection.close_reason());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(REQUEST_TIMEOUT, confirmed).await.expect("HANDSHAKE_DONE (RFC 9001, section 4.1.2)");
    connection
}

/// Sends the Hello. The caller must keep the control stream.
pub(crate) async fn send_hello(connection: &Connection, link: &Link) -> (SendStream, RecvStream) {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    send.write_all(&hello(link)).await.unwrap();
    (send, receive)
}

/// Opens a stream, and sends these bytes and FIN.
pub(crate) async fn send_stream(connection: &Connection, bytes: &[u8]) -> RecvStream {
    let (mut send, receive) = timeout(REQUEST_TIMEOUT, connection.open_bi()).await.unwrap().unwrap();
    // The server may stop the stream before its end.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    receive
}

/// All bytes of a stream, or its reset.
pub(crate) async fn read_response(mut receive: RecvStream) -> Result<Vec<u8>, ReadToEndError> {
    timeout(REQUEST_TIMEOUT, receive.read_to_end(1024 * 1024)).await.unwrap()
}

/// The code with which the server closed the connection.
pub(crate) async fn close_code(connection: &Connection) -> Option<CloseCode> {
    match timeout(REQUEST_TIMEOUT, connection.closed()).await.unwrap() {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        other => panic!("{other}"),
    }
}

pub(crate) fn hello(link: &Link) -> Vec<u8> {
    let (name, secret) = (link.name.clone(), link.secret.clone());
    let hello = Hello { name, secret, congestion: Choice::Auto, max_rate: None };
    hello.encode().unwrap()
}

pub(crate) fn ping() -> Vec<u8> {
    request(next_exchange(), Operation::Ping)
}

/// A pull of a blob of `library/hello`.
pub(crate) fn pull(exchange: u64, blob: &Blob) -> Vec<u8> {
    let operation = Operation::Blob {
        repository: "library/hello".parse().unwrap(),
        digest: blob.digest().to_string().parse().unwrap(),
        method: Method::Get,
    };
    request(exchange, operation)
}

/// The number of a new exchange, on any connection.
pub(crate) fn next_exchange() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The header of a request's stream.
pub(crate) fn request_header(exchange: u64, request: Request) -> Vec<u8> {
    let header = RequestHeader { exchange: ExchangeId(exchange), request };
    frame::encode(&StreamHeader::Request(Box::new(header))).unwrap()
}

/// The header of a segment stream.
pub(crate) fn segment(exchange: u64, n: u32) -> Vec<u8> {
    frame::encode(&StreamHeader::Segment(SegmentHeader { exchange: ExchangeId(exchange), n })).unwrap()
}

fn request(exchange: u64, operation: Operation) -> Vec<u8> {
    let request = Request::new(Registry::docker_hub(), operation).with_authorization(Authorization::Public);
    request_header(exchange, request)
}

pub(crate) async fn assert_others_are_served(testbed: &Testbed) {
    let bearer = testbed.engine.anonymous("library/hello").await;
    let path = "/v2/library/hello/manifests/latest";
    let response = testbed.engine.get(path, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
}
