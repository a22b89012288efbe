//! Unauthenticated peers can make the programs log only a bounded number of bytes, however often they try.

use std::time::Instant;

use docxy_protocol::{control::CloseCode, link::Link};
use docxy_tests::process::PROCESS_TIMEOUT;
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    quic_client::{close_code, dial, send_hello, send_stream},
    testbed::{Testbed, invite, settled_output_size},
};

/// Requests of each kind. In an earlier version each cost some 250 bytes, or as many as its path had.
const REQUESTS: usize = 1000;

/// Unauthenticated connections of each kind.
const CONNECTIONS: usize = 150;

/// Concurrent connections.
const CONCURRENT_CONNECTIONS: usize = 15;

/// The bytes that may be logged: of each kind ten lines at once, then one line per 10 s.
fn allowed(kinds: u64, since: Instant) -> u64 {
    const LONGEST_LINE: u64 = 700;
    kinds * (11 + since.elapsed().as_secs() / 10) * LONGEST_LINE
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_do_not_fill_the_disk() {
    let mut testbed = Testbed::new().await;
    let host = testbed.client.address();
    let long = "x".repeat(4000);
    let kinds = [
        "GET /v2/ HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nhost: evil.example\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\norigin: https://evil.example\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\nsec-fetch-site: cross-site\r\n\r\n"),
        format!("GET /nowhere/{long} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("DELETE /v2/library/hello/manifests/latest HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("{long} /v2/ HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("GET /v2/ HTTP/1.0\r\nhost: {host}\r\nconnection: keep-alive\r\n\r\n"),
        // Not refused, but as cheap for the sender.
        format!("GET /health HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("GET /auth/token HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("GET /v2/tags/list?ns=unlisted.example HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("GET /v2/a/tags/list?ns=unlisted.example HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ];
    let started = Instant::now();
    let before = testbed.client.process().output_size();
    for request in &kinds {
        flood(testbed.client.address(), request).await;
    }
    let grown = settled_output_size(testbed.client.process()) - before;
    let allowed = allowed(kinds.len() as u64, started);
    println!("{} requests cost {grown} bytes of the log, of {allowed} allowed", REQUESTS * kinds.len());
    assert!(grown < allowed, "{grown} bytes for {allowed}");
    // Refusals are still logged.
    assert!(grown > 1000, "{grown}");
}

/// Repeats a request, on one connection as long as the client keeps it.
async fn flood(to: std::net::SocketAddr, request: &str) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..REQUESTS {
        // One at a time: a response is much shorter than the buffer, and arrives in one or two reads.
        let written = stream.write_all(request.as_bytes()).await;
        let read = match written {
            Ok(()) => timeout(PROCESS_TIMEOUT, stream.read(&mut buffer)).await.expect("a response"),
            Err(error) => Err(error),
        };
        if !matches!(read, Ok(1..)) {
            stream = TcpStream::connect(to).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_connections_do_not_fill_the_disk() {
    let mut testbed = Testbed::new().await;
    let line = invite(&mut testbed.server, "phone");
    let link: Link = line.parse().unwrap();
    let secret = line.split_once("phone:").unwrap().1.split_once('@').unwrap().0;
    let wrong: Link = line.replace(secret, "wrongwrongwrongwrongwrongwrongwrongwrongwro").parse().unwrap();
    let started = Instant::now();
    let before = testbed.server.process().output_size();
    let send_nonsense = async || {
        let connection = dial(&testbed, &link).await;
        send_stream(&connection, b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(close_code(&connection).await, Some(CloseCode::ProtocolViolation));
    };
    let send_wrong_secret = async || {
        let connection = dial(&testbed, &wrong).await;
        let _control = send_hello(&connection, &wrong).await;
        assert_eq!(close_code(&connection).await, Some(CloseCode::UnknownClient));
    };
    for _ in 0..CONNECTIONS / CONCURRENT_CONNECTIONS {
        join_all((0..CONCURRENT_CONNECTIONS).map(|_| send_nonsense())).await;
        join_all((0..CONCURRENT_CONNECTIONS).map(|_| send_wrong_secret())).await;
    }
    let grown = settled_output_size(testbed.server.process()) - before;
    let allowed = allowed(2, started);
    println!("{} connections cost {grown} bytes of the log, of {allowed} allowed", 2 * CONNECTIONS);
    assert!(grown < allowed && grown > 1000, "{grown} bytes for {allowed}");
}
