//! Connections through a proxy, with proxies that answer any bytes.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

use docxy_host::net::proxy::{Destination, Proxy, ProxyError, ProxyFailure};
use std::future::pending;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a proxy does with each connection.
#[derive(Clone, Copy)]
enum Step {
    /// Reads bytes until it has these.
    Expect(&'static [u8]),
    /// Reads the head of an HTTP request.
    Head,
    Send(&'static [u8]),
    /// Keeps silent, while time flies.
    Hang,
    /// Sends back what arrives.
    Echo,
}

/// Connects to `docxy.example:443` through a proxy that takes these steps, and returns what it received.
async fn connect(
    scheme: &str,
    steps: &'static [Step],
) -> (Result<TcpStream, ProxyError>, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{scheme}{}", listener.local_addr().unwrap());
    let proxy: Proxy = url.parse().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        for step in steps {
            match step {
                Step::Expect(bytes) => {
                    let mut read = vec![0; bytes.len()];
                    stream.read_exact(&mut read).await.unwrap();
                    assert_eq!(&read, bytes);
                }
                Step::Head => {
                    while !received.ends_with(b"\r\n\r\n") {
                        received.push(stream.read_u8().await.unwrap());
                    }
                }
                Step::Send(bytes) => stream.write_all(bytes).await.unwrap(),
                Step::Hang => {
                    tokio::time::pause();
                    pending::<()>().await;
                }
                Step::Echo => {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                }
            }
        }
        received
    });
    let destination = Destination::Name("docxy.example".parse().unwrap(), 443);
    (proxy.connect(&destination).await, task)
}

async fn failure(scheme: &str, steps: &'static [Step]) -> String {
    let (result, _) = connect(scheme, steps).await;
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("the proxy {} ", error.proxy)), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("docxy.example"), "{text}");
    error.failure.to_string()
}

#[tokio::test]
async fn http_connect_yields_the_connection_after_the_proxy_s_answer() {
    let steps =
        &[Step::Head, Step::Send(b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n"), Step::Echo];
    let (stream, task) = connect("http://me:hunter2@", steps).await;
    let mut stream = stream.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    drop(stream);
    let head = String::from_utf8(task.await.unwrap()).unwrap();
    assert!(head.starts_with("CONNECT docxy.example:443 HTTP/1.1\r\nhost: docxy.example:443\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n"), "{head}");
}

#[tokio::test]
async fn an_http_proxy_s_refusal_says_what_to_do() {
    for (scheme, answer, words) in [
        (
            "http://",
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
            "asks for credentials (407); set",
        ),
        ("http://me:hunter2@", b"HTTP/1.1 401 X\r\n\r\n", "refuses the credentials (401); check"),
        ("http://me:hunter2@", b"HTTP/1.1 407 X\r\n\r\n", "refuses the credentials (407); check"),
        (
            "http://",
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1\r\n\r\nx",
            "does not allow this destination (403)",
        ),
        ("http://", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "cannot reach the destination (502 Bad Gateway)"),
        ("http://", b"HTTP/1.1 302 Found\r\n\r\n", "answers 302; ask"),
        ("http://", b"SSH-2.0-OpenSSH_9.2\r\n", "answers something else than HTTP; check"),
        // Bytes of the destination that the proxy sends with its answer: TLS begins with the client.
        ("http://", b"HTTP/1.1 200 OK\r\n\r\nhello", "answers something else than HTTP"),
        ("http://", b"HTTP/1.1 200 OK\r\nX: ", "closes the connection without an answer"),
        ("http://", b"", "closes the connection without an answer"),
    ] {
        // The steps live as long as the test process.
        let steps: &'static [Step] = Box::leak(Box::new([Step::Head, Step::Send(answer)]));
        let text = failure(scheme, steps).await;
        assert!(text.starts_with(words), "{text}");
    }
}

#[tokio::test]
async fn a_response_head_without_end_is_refused() {
    const HEAD: &[u8] = &[b'x'; 64 * 1024];
    let steps = &[Step::Head, Step::Send(b"HTTP/1.1 200 OK\r\nX: "), Step::Send(HEAD)];
    let text = failure("http://", steps).await;
    assert!(text.starts_with("answers something else than HTTP"), "{text}");
}

#[tokio::test]
async fn socks5_yields_the_connection_after_the_proxy_s_answer() {
    let steps = &[
        Step::Expect(b"\x05\x02\x00\x02"),
        Step::Send(b"\x05\x02"),
        Step::Expect(b"\x01\x02me\x07hunter2"),
        Step::Send(b"\x01\x00"),
        Step::Expect(b"\x05\x01\x00\x03\x0ddocxy.example\x01\xbb"),
        Step::Send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01"),
        Step::Echo,
    ];
    let (stream, _) = connect("socks5://me:hunter2@", steps).await;
    let mut stream = stream.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
}

#[tokio::test]
async fn a_socks5_proxy_s_refusal_says_what_to_do() {
    const NO_AUTHENTICATION: [Step; 2] = [Step::Expect(b"\x05\x01\x00"), Step::Send(b"\x05\x00")];
    const REQUEST: Step = Step::Expect(b"\x05\x01\x00\x03\x0ddocxy.example\x01\xbb");
    const REPLY: &[u8] = b"\x00\x01\x00\x00\x00\x00\x00\x00";
    let reply = |code: u8| -> &'static [u8] { Box::leak([&[5, code], REPLY].concat().into_boxed_slice()) };
    let password = [
        Step::Expect(b"\x05\x02\x00\x02"),
        Step::Send(b"\x05\x02"),
        Step::Expect(b"\x01\x02me\x07hunter2"),
        Step::Send(b"\x01\x01"),
    ];
    let [first, second] = NO_AUTHENTICATION;
    for (scheme, steps, words) in [
        ("socks5://", vec![first, Step::Send(b"\x05\xff")], "asks for credentials"),
        ("socks5://", vec![first, Step::Send(b"\x05\x02")], "asks for credentials"),
        ("socks5://me:hunter2@", password.to_vec(), "refuses the credentials"),
        ("socks5://", vec![first, second, REQUEST, Step::Send(reply(2))], "does not allow this destination"),
        (
            "socks5://",
            vec![first, second, REQUEST, Step::Send(reply(4))],
            "cannot reach the destination (host",
        ),
        (
            "socks5://",
            vec![first, Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
            "answers something else than SOCKS5",
        ),
        ("socks5://", vec![first, second], "closes the connection without an answer"),
    ] {
        let text = failure(scheme, steps.leak()).await;
        assert!(text.starts_with(words), "{text}");
    }
}

#[tokio::test]
async fn a_silent_http_proxy_is_given_up() {
    let text = failure("http://", &[Step::Head, Step::Hang]).await;
    assert!(text.starts_with("does not answer within 5 s"), "{text}");
}

#[tokio::test]
async fn a_silent_socks5_proxy_is_given_up() {
    let text = failure("socks5://", &[Step::Expect(b"\x05\x01\x00"), Step::Hang]).await;
    assert!(text.starts_with("does not answer within 5 s"), "{text}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let destination = Destination::Address("192.0.2.1:443".parse().unwrap());
    let refused =
        format!("http://{address}").parse::<Proxy>().unwrap().connect(&destination).await.unwrap_err();
    assert!(matches!(refused.failure, ProxyFailure::Connect(_)), "{refused}");
    assert!(refused.to_string().starts_with(&format!("the proxy http://{address} cannot be reached: ")));
    let unknown = "http://proxy.invalid:1".parse::<Proxy>().unwrap().connect(&destination).await.unwrap_err();
    assert!(matches!(unknown.failure, ProxyFailure::Resolve(_)), "{unknown}");
}
