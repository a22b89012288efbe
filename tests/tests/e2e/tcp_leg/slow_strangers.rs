//! Strangers that take their time at the TCP port: they block no client, cost little memory, and are cut off.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use docxy_protocol::{
    identity::Pin,
    limits::{AUTHENTICATION_TIMEOUT, UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX},
    link::Link,
};
use docxy_tests::process::PROCESS_TIMEOUT;
use http::{Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, block_in_place},
    time::timeout,
};

use super::strangers::{connect, http2};
use crate::support::{
    http_client::REQUEST_TIMEOUT,
    testbed::{Testbed, invite},
};

/// The time between two bytes: many fit into the deadline.
const TRICKLE: Duration = Duration::from_millis(250);

async fn testbed() -> (Testbed, SocketAddr, Pin) {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let server = testbed.server.address();
    (testbed, server, link.pin)
}

/// Sends the text byte by byte, over and over, until the server ends the connection.
async fn trickle(stream: impl AsyncRead + AsyncWrite + Unpin, text: &[u8]) {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        for byte in text.iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(TRICKLE).await;
        }
    };
    let ended = async { while matches!(read.read(&mut [0; 1024]).await, Ok(1..)) {} };
    tokio::select! {
        () = sending => {}
        () = ended => {}
    }
}

/// A request over HTTP/2 whose body trickles.
async fn trickle_body(server: SocketAddr, pin: Pin, path: &str) {
    let mut requests = http2(server, pin).await.ready().await.unwrap();
    let request = Request::post(format!("https://a.example{path}")).body(()).unwrap();
    let (response, mut send) = requests.send_request(request, false).unwrap();
    let sending = async {
        while send.send_data(vec![b'x'].into(), false).is_ok() {
            tokio::time::sleep(TRICKLE).await;
        }
    };
    tokio::select! {
        () = sending => {}
        response = response => assert!(response.is_err(), "{path}: {response:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_trickles_is_cut_off_at_the_deadline() {
    let (mut testbed, server, pin) = testbed().await;
    let started = Instant::now();
    let mut strangers = JoinSet::new();
    strangers.spawn(async move {
        trickle(TcpStream::connect(server).await.unwrap(), b"\x16\x03\x01\x02\x00\x01").await
    });
    for text in [
        &b"GET / HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"[..],
        b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 9999\r\n\r\n",
    ] {
        strangers.spawn(async move { trickle(connect(server, pin, &["http/1.1"]).await, text).await });
    }
    // Requests without a break on one connection.
    strangers.spawn(async move {
        trickle(connect(server, pin, &[]).await, b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await
    });
    for path in ["/", "/else"] {
        strangers.spawn(trickle_body(server, pin, path));
    }
    while let Some(ended) = timeout(REQUEST_TIMEOUT, strangers.join_next()).await.expect("an end in time") {
        ended.unwrap();
        assert!(started.elapsed() >= AUTHENTICATION_TIMEOUT - Duration::from_secs(1), "too early");
    }
    let gone = |status: &serde_json::Value| status["unauthenticated"] == 0;
    block_in_place(|| testbed.server.wait_for_status("end strangers", PROCESS_TIMEOUT, gone)).unwrap();
    assert_eq!(testbed.engine.get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_strangers_than_there_is_room_for_block_no_client() {
    let (mut testbed, server, _) = testbed().await;
    let mut strangers = Vec::new();
    for _ in 0..UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX + 100 {
        strangers.push(TcpStream::connect(server).await.unwrap());
    }
    // The oldest make room.
    for stranger in &mut strangers[..100] {
        let ended = timeout(REQUEST_TIMEOUT, stranger.read(&mut [0; 8])).await.expect("it makes room");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    let few = |status: &serde_json::Value| {
        status["unauthenticated"]
            .as_u64()
            .is_some_and(|open| open <= UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX as u64)
    };
    block_in_place(|| testbed.server.wait_for_status("make room", PROCESS_TIMEOUT, few)).unwrap();
    let (blob, path) = testbed.with_blob(1, 1 << 20);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert_eq!((response.status, response.body.len() as u64), (StatusCode::OK, blob.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_send_costs_little_memory() {
    const CONNECTIONS: usize = 50;
    let (mut testbed, server, pin) = testbed().await;
    assert_eq!(testbed.engine.get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
    let before = testbed.server.process().memory().unwrap().now;
    let mut strangers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        // A head without an end, and a body that is read and forgotten.
        for head in [
            "GET / HTTP/1.1\r\nx: ",
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 99999999\r\n\r\n",
        ] {
            strangers.spawn(async move {
                let mut tls = connect(server, pin, &["http/1.1"]).await;
                tls.write_all(head.as_bytes()).await.unwrap();
                for _ in 0..64 {
                    // The server ends the connection, or reads.
                    if tls.write_all(&[b'y'; 16 << 10]).await.is_err() {
                        break;
                    }
                }
                tls
            });
        }
    }
    let open = strangers.join_all().await;
    let grown = testbed.server.process().memory().unwrap().peak.saturating_sub(before);
    drop(open);
    assert!(grown < 24 << 20, "the server grew by {grown} bytes");
}
