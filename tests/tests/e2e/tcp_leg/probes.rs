//! What probers try at the TCP port: the answers of a small web server that has nothing.

use std::{io::ErrorKind, net::SocketAddr};

use docxy_protocol::{identity::Pin, link::Link};
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::strangers::{ask, connect, handshake, http2, pinned};
use crate::support::{
    http_client::REQUEST_TIMEOUT,
    testbed::{Testbed, invite},
};

const BODY: &str = "404 page not found\n";

async fn testbed() -> (Testbed, SocketAddr, Pin) {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let server = testbed.server.address();
    (testbed, server, link.pin)
}

/// All that the server says until it closes the connection.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    String::from_utf8_lossy(&rest_bytes(stream).await).into_owned()
}

async fn rest_bytes(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    let read = timeout(REQUEST_TIMEOUT, stream.read_to_end(&mut said)).await.expect("an end in time");
    // A peer that closes without TLS's farewell, or resets, has ended too.
    assert!(read.as_ref().map_or_else(|e| e.kind() != ErrorKind::TimedOut, |_| true), "{read:?}");
    said
}

/// What is said on a new HTTP/1.1 connection to these bytes.
async fn http1(server: SocketAddr, pin: Pin, sent: &str) -> String {
    let mut tls = connect(server, pin, &["http/1.1"]).await;
    if let Err(error) = tls.write_all(sent.as_bytes()).await {
        // A server that refuses the beginning of a request need not read its rest.
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
    rest(&mut tls).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_is_answered_in_all_its_forms() {
    let (_testbed, server, pin) = testbed().await;
    let close = "host: a.example\r\nconnection: close\r\n";
    for (sent, answers) in [
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 1),
        ("GET /index.html HTTP/1.0\r\nhost: a.example\r\n\r\n".to_owned(), 1),
        (format!("GET / HTTP/1.1\r\n{close}\r\n"), 1),
        (format!("OPTIONS * HTTP/1.1\r\n{close}\r\n"), 1),
        (format!("POST /login HTTP/1.1\r\n{close}content-length: 5\r\n\r\na=b&c"), 1),
        (format!("POST / HTTP/1.1\r\n{close}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), 1),
        // Pipelined on a connection that stays open.
        (
            "GET /a HTTP/1.1\r\nhost: a.example\r\n\r\nPUT /b HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1\r\n\r\nx"
                .to_owned()
                + &format!("GET /c HTTP/1.1\r\n{close}\r\n"),
            3,
        ),
    ] {
        let said = http1(server, pin, &sent).await;
        assert_eq!(said.matches(" 404 Not Found\r\n").count(), answers, "{sent}{said}");
        assert_eq!(said.matches(BODY).count(), answers, "{sent}{said}");
        assert_eq!(said.matches("Date: ").count(), answers, "{said}");
    }
    let said = http1(server, pin, &format!("HEAD / HTTP/1.1\r\n{close}\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 404 Not Found\r\n") && !said.contains(BODY), "{said}");
    assert!(said.contains(&format!("Content-Length: {}\r\n", BODY.len())), "{said}");
    let huge = "y".repeat(64 << 10);
    for (sent, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400 Bad Request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        (format!("GET / HTTP/1.1\r\n{close}a b: c\r\n\r\n"), "400 Bad Request"),
        (format!("GET / HTTP/1.1\r\n{close}x: {huge}\r\n\r\n"), "431 Request Header Fields Too Large"),
    ] {
        let said = http1(server, pin, &sent).await;
        let expected = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{status}"
        );
        assert_eq!(said, expected, "{}", &sent[..sent.len().min(60)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http1_connection_stays_open() {
    let (_testbed, server, pin) = testbed().await;
    let mut tls = connect(server, pin, &["http/1.1"]).await;
    for _ in 0..3 {
        tls.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        let mut said = String::new();
        while !said.ends_with(BODY) {
            let byte = timeout(REQUEST_TIMEOUT, tls.read_u8()).await.expect("an answer").unwrap();
            said.push(char::from(byte));
        }
        assert!(said.starts_with("HTTP/1.1 404 Not Found\r\n"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_connection_are_answered_each() {
    let (_testbed, server, pin) = testbed().await;
    for first in [Method::GET, Method::POST] {
        let requests = http2(server, pin).await.ready().await.unwrap();
        let methods = [first, Method::POST, Method::HEAD, Method::POST, Method::GET, Method::DELETE];
        // The second path is a client's, for what it gets when it is accepted.
        let paths = ["/", "/padding"].into_iter().cycle();
        let streams = methods.into_iter().zip(paths).map(|(method, path)| {
            let mut requests = requests.clone();
            async move {
                let (status, head, body) =
                    ask(&mut requests, method.clone(), path, &HeaderMap::new(), b"x").await;
                let length = head["content-length"].to_str().unwrap().to_owned();
                (method, status, length, String::from_utf8(body).unwrap())
            }
        });
        for (method, status, length, body) in join_all(streams).await {
            assert_eq!((status, &length[..]), (StatusCode::NOT_FOUND, "19"), "{method}");
            assert_eq!(body, if method == Method::HEAD { "" } else { BODY }, "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http2_ends_the_connection_with_its_error() {
    /// RFC 9113, sections 3.4, 6.8 and 7.
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const GOAWAY: u8 = 7;
    let (_testbed, server, pin) = testbed().await;
    for (after_preface, code) in [
        // A frame that is too long, HEADERS on no stream, and DATA on a stream that is idle.
        (&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..], 6),
        (&[0, 0, 1, 1, 5, 0, 0, 0, 0, 0x82], 1),
        (&[0, 0, 1, 0, 0, 0, 0, 0, 1, 0], 1),
    ] {
        let mut tls = connect(server, pin, &["h2"]).await;
        tls.write_all(&[PREFACE, after_preface].concat()).await.unwrap();
        let said = rest_bytes(&mut tls).await;
        let mut frames = Vec::new();
        let mut left = &said[..];
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = left {
            let (content, rest) =
                rest.split_at(usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
            frames.push((*kind, content));
            left = rest;
        }
        let (kind, content) = frames.last().expect("frames");
        assert_eq!((*kind, content[7]), (GOAWAY, code), "{frames:?}");
    }
    let mut tls = connect(server, pin, &["h2"]).await;
    tls.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
    let said = rest(&mut tls).await;
    assert!(!said.contains("HTTP"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_names_are_chosen_as_by_web_servers() {
    let (_testbed, server, pin) = testbed().await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["spdy/3", "http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let tls = connect(server, pin, offered).await;
        assert_eq!(tls.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
    }
    // RFC 7301, section 3.2.
    let refused = handshake(server, pinned(pin), None, &["spdy/3"]).await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_is_refused_as_by_web_servers() {
    let (testbed, server, _) = testbed().await;
    for request in
        ["GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "POST / HTTP/1.0\r\ncontent-length: 1\r\n\r\nx"]
    {
        let mut tcp = TcpStream::connect(server).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let said = rest(&mut tcp).await;
        assert!(said.starts_with("HTTP/1.0 400 Bad Request\r\n\r\n"), "{said}");
        assert!(said.contains("HTTP request to an HTTPS server"), "{said}");
    }
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n * 7919 % 251) as u8).collect();
    for garbage in [&noise[..], b"SSH-2.0-scanner\r\n", b"\x05\x01\x00", b"\x16\x03\x01\xff\xff", &[0; 300]] {
        let mut tcp = TcpStream::connect(server).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        tcp.shutdown().await.unwrap();
        let said = rest(&mut tcp).await;
        // At most an alert (RFC 8446, section 6), whose length is 7.
        assert!(said.len() <= 16, "{said:?}");
    }
    assert_eq!(testbed.engine.get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
}
