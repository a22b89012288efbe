//! Exchanges over each leg of the transport, with a server that the test plays.

use super::*;
use crate::tunnel::{Congestion, Server, Trust};
use bytes::Bytes;
use docxy_protocol::authorization::{Authorization, basic};
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::control::{ExchangeId, SegmentHeader};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_protocol::secret::Secret;
use docxy_protocol::segment::SegmentLayout;
use docxy_protocol::token::{Grant, TokenRequest};
use docxy_transport::test_legs::{Pair, TestLeg};
use docxy_transport::{SendStream, Session as Transport};
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

const HELLO: &[u8] = b"hello, engine";

/// A body of two segments, of which the second is short.
const LENGTH: u64 = SEGMENT_BYTES as u64 + 1000;

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("an end in time")
}

/// A client's session, and the leg below it.
async fn connect(leg: TestLeg) -> (Session, Pair) {
    connect_to(leg, Trust::Trusted).await
}

async fn connect_to(leg: TestLeg, trust: Trust) -> (Session, Pair) {
    let pair = leg.connect().await;
    (Session::new(pair.client.clone(), Congestion::default(), Server::of_test(trust)), pair)
}

fn request(operation: Operation) -> Request {
    Request::new("docker.io".parse().unwrap(), operation).with_authorization(Authorization::Public)
}

fn blob() -> Request {
    let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    request(Operation::Blob { repository: "a/b".parse().unwrap(), digest, method: Method::Get })
}

async fn exchange(session: &Session, request: &Request) -> Result<Response, ExchangeError> {
    in_time(send(session, None, request, None)).await
}

/// The next stream of the client, and its header.
async fn accept(server: &Transport) -> (StreamHeader, SendStream) {
    let (send, mut receive) = server.accept().await.unwrap();
    (receive.read_frame().await.unwrap(), send)
}

/// The next request.
async fn accept_request(server: &Transport) -> (ExchangeId, SendStream) {
    loop {
        if let (StreamHeader::Request(header), send) = accept(server).await {
            return (header.exchange, send);
        }
    }
}

async fn respond(send: &mut SendStream, body: BodyFraming) {
    let head = reply::Response { status: StatusCode::OK, headers: Headers::default(), body };
    send.send(frame::encode(&Reply::Response(head)).unwrap().into()).await.unwrap();
}

async fn chunk(send: &mut SendStream, bytes: &'static [u8]) {
    send.send(Bytes::copy_from_slice(&ChunkHeader::Data(bytes.len() as u32).to_bytes())).await.unwrap();
    send.send(Bytes::from_static(bytes)).await.unwrap();
}

async fn end(mut send: SendStream) {
    send.send(Bytes::copy_from_slice(&ChunkHeader::End.to_bytes())).await.unwrap();
    send.finish().unwrap();
}

async fn collect(body: &mut RemoteBody) -> Result<Vec<u8>, ExchangeError> {
    let mut all = Vec::new();
    while let Some(bytes) = in_time(body.next()).await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// The segments that the client opened with a request, by their number. A leg with several connections may deliver
/// them before the request.
async fn accept_segments(server: &Transport, count: usize) -> (SendStream, HashMap<u32, SendStream>) {
    let (mut main, mut segments) = (None, HashMap::new());
    while main.is_none() || segments.len() < count {
        match accept(server).await {
            (StreamHeader::Request(header), send) => main = Some((header.exchange, send)),
            (StreamHeader::Segment(SegmentHeader { exchange, n }), send) => {
                segments.insert((exchange, n), send);
            }
            (StreamHeader::Echo, _) => {}
        }
    }
    let (exchange, main) = main.unwrap();
    assert!(segments.keys().all(|(of, _)| *of == exchange));
    (main, segments.into_iter().map(|((_, n), send)| (n, send)).collect())
}

#[tokio::test]
async fn a_credential_never_goes_to_a_server_that_is_not_trusted() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect_to(leg, Trust::Untrusted).await;
        for authorization in [basic("me", "hunter2"), Authorization::Bearer(Secret::new("t"))] {
            let error = exchange(&session, &blob().with_authorization(authorization)).await.unwrap_err();
            assert_eq!(error.to_fault().kind, FaultKind::Internal);
        }
        let grant = Grant::RefreshToken(Secret::new("t"));
        let token = TokenRequest { scopes: Vec::new(), client_id: None, offline: false, grant };
        assert!(exchange(&session, &request(Operation::Token(token))).await.is_err());
        let quiet = tokio::time::timeout(Duration::from_millis(100), pair.server.accept()).await;
        assert!(quiet.is_err(), "nothing was sent");
    }
}

#[tokio::test]
async fn a_response_and_its_body_arrive_whole() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let server = async {
            let (_, mut send) = accept_request(&pair.server).await;
            respond(&mut send, BodyFraming::Chunked { length: Some(HELLO.len() as u64) }).await;
            chunk(&mut send, HELLO).await;
            end(send).await;
        };
        let ping = request(Operation::Ping);
        let ((), response) = tokio::join!(server, exchange(&session, &ping));
        let mut response = response.unwrap();
        assert_eq!(response.status, StatusCode::OK, "{leg:?}");
        assert_eq!(collect(&mut response.body).await.unwrap(), HELLO, "{leg:?}");
    }
}

#[tokio::test]
async fn each_exchange_has_a_number_of_its_own() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let server = async {
                let (exchange, mut send) = accept_request(&pair.server).await;
                respond(&mut send, BodyFraming::None).await;
                send.finish().unwrap();
                exchange
            };
            let ping = request(Operation::Ping);
            let (exchange, response) = tokio::join!(server, exchange(&session, &ping));
            response.unwrap();
            seen.push(exchange.0);
        }
        assert_eq!(seen, [0, 1, 2], "{leg:?}");
    }
}

#[tokio::test]
async fn segments_are_read_in_order_however_they_are_filled() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let layout = SegmentLayout::new(LENGTH, SEGMENT_BYTES).unwrap();
        let server = async {
            let (mut main, mut segments) = accept_segments(&pair.server, 2).await;
            respond(&mut main, BodyFraming::Segmented(layout)).await;
            for n in [1, 0] {
                let mut segment = segments.remove(&n).unwrap();
                let range = layout.range(n);
                segment.send(vec![n as u8; (range.end - range.start) as usize].into()).await.unwrap();
                segment.finish().unwrap();
            }
            end(main).await;
        };
        let blob = blob();
        let ((), response) = tokio::join!(server, exchange(&session, &blob));
        let body = collect(&mut response.unwrap().body).await.unwrap();
        assert_eq!(body.len() as u64, LENGTH, "{leg:?}");
        let (first, second) = body.split_at(SEGMENT_BYTES as usize);
        assert!(first.iter().all(|b| *b == 0) && second.iter().all(|b| *b == 1), "{leg:?}");
    }
}

#[tokio::test]
async fn a_reset_before_the_head_is_told_from_a_lost_session() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let ping = request(Operation::Ping);
        let server = async { drop(accept_request(&pair.server).await) };
        let ((), response) = tokio::join!(server, exchange(&session, &ping));
        assert!(matches!(response, Err(ExchangeError::Reset(_))), "{leg:?}: {response:?}");
        let server = async {
            let _stream = accept_request(&pair.server).await;
            pair.server.close_with(docxy_protocol::control::CloseCode::Done, "that is why");
        };
        let ((), response) = tokio::join!(server, exchange(&session, &ping));
        match response {
            Err(error @ ExchangeError::SessionLost(_)) => {
                assert!(error.to_string().contains("that is why"), "{leg:?}: {error}");
            }
            other => panic!("{leg:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_aborted_body_ends_with_the_servers_fault() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let server = async {
            let (_, mut send) = accept_request(&pair.server).await;
            respond(&mut send, BodyFraming::Chunked { length: None }).await;
            chunk(&mut send, HELLO).await;
            send.send(Bytes::copy_from_slice(&ChunkHeader::Aborted.to_bytes())).await.unwrap();
            let fault = Fault::new(Hop::Cdn, FaultKind::Truncated, "the CDN hung up");
            send.send(frame::encode(&fault).unwrap().into()).await.unwrap();
            send.finish().unwrap();
        };
        let ping = request(Operation::Ping);
        let ((), response) = tokio::join!(server, exchange(&session, &ping));
        let error = collect(&mut response.unwrap().body).await.unwrap_err();
        assert!(matches!(&error, ExchangeError::Fault(fault) if fault.hop == Hop::Cdn), "{leg:?}: {error}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_is_no_body() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let server = async {
            let (_, mut send) = accept_request(&pair.server).await;
            respond(&mut send, BodyFraming::Chunked { length: None }).await;
            chunk(&mut send, HELLO).await;
            send.finish().unwrap();
        };
        let ping = request(Operation::Ping);
        let ((), response) = tokio::join!(server, exchange(&session, &ping));
        assert!(collect(&mut response.unwrap().body).await.is_err(), "{leg:?}");
    }
}

#[tokio::test]
async fn a_dropped_body_stops_the_server() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let server = async {
            let (_, mut send) = accept_request(&pair.server).await;
            respond(&mut send, BodyFraming::Chunked { length: None }).await;
            send
        };
        let ping = request(Operation::Ping);
        let (send, response) = tokio::join!(server, exchange(&session, &ping));
        drop(response);
        in_time(send.stopped()).await;
    }
}

#[tokio::test]
async fn what_arrived_of_each_segment_is_kept_when_the_session_is_lost() {
    for leg in TestLeg::ALL {
        let (session, pair) = connect(leg).await;
        let layout = SegmentLayout::new(LENGTH, SEGMENT_BYTES).unwrap();
        let server = async {
            let (mut main, mut segments) = accept_segments(&pair.server, 2).await;
            respond(&mut main, BodyFraming::Segmented(layout)).await;
            for n in [0, 1] {
                segments.get_mut(&n).unwrap().send(vec![n as u8; 100].into()).await.unwrap();
            }
            (main, segments)
        };
        let blob = blob();
        let (_streams, response) = tokio::join!(server, exchange(&session, &blob));
        let mut body = response.unwrap().body;
        assert!(!in_time(body.next()).await.unwrap().unwrap().is_empty());
        match &pair.cut {
            Some(cut) => cut.now(),
            None => {
                // Only a loss without a word keeps packets from arriving: here they arrive before the close.
                pair.server.close(docxy_protocol::control::CloseCode::Draining);
                in_time(pair.client.closed()).await;
            }
        }
        let runs = body.into_buffered();
        let bytes: Vec<u8> = runs.last().unwrap().chunks.iter().flatten().copied().collect();
        assert_eq!(bytes, [1; 100], "{leg:?}");
        // The rest of the first segment is the gap.
        assert_eq!(runs.last().unwrap().gap, u64::from(SEGMENT_BYTES) - 100, "{leg:?}");
    }
}
