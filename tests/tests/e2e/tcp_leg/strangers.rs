//! What a stranger sees at the server's TCP port: a web server that has nothing.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use docxy_protocol::{
    congestion::Choice,
    control::Hello,
    identity::{Pin, PinnedServer},
    link::{ClientSecret, Link},
    tls::provider,
    version::{WIRE_VERSION, preamble},
};
use http::{HeaderMap, Method, Request, StatusCode};
use rustls::{ClientConfig, client::danger::ServerCertVerifier, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    http_client::REQUEST_TIMEOUT,
    testbed::{Testbed, invite},
};

/// A TLS connection with these protocol names and, if there is one, this server name.
pub(super) async fn handshake(
    server: SocketAddr,
    verifier: Arc<dyn ServerCertVerifier>,
    name: Option<&str>,
    protocols: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.enable_sni = name.is_some();
    let tcp = TcpStream::connect(server).await?;
    // A request of several segments must not wait for acknowledgements.
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(name.unwrap_or("unused.example").to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

pub(super) fn pinned(pin: Pin) -> Arc<dyn ServerCertVerifier> {
    Arc::new(PinnedServer::new(pin, provider()))
}

/// A TLS connection with these protocol names.
pub(super) async fn connect(server: SocketAddr, pin: Pin, protocols: &[&str]) -> TlsStream<TcpStream> {
    handshake(server, pinned(pin), Some("example.org"), protocols).await.unwrap()
}

type Requests = h2::client::SendRequest<Bytes>;

pub(super) async fn http2(server: SocketAddr, pin: Pin) -> Requests {
    let tls = connect(server, pin, &["h2"]).await;
    let (requests, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// The response to a request with this body. Its trailers are among its fields.
pub(super) async fn ask(
    requests: &mut Requests,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(format!("https://example.org{path}"));
    *request.headers_mut().unwrap() = headers.clone();
    let request = request.body(()).unwrap();
    let (response, mut send) = requests.send_request(request, false).unwrap();
    send.send_data(Bytes::copy_from_slice(body), true).unwrap();
    let response = timeout(REQUEST_TIMEOUT, response).await.expect("a response in time").unwrap();
    let (mut head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        body.extend_from_slice(&bytes.unwrap());
    }
    head.headers.extend(stream.trailers().await.unwrap().unwrap_or_default());
    (head.status, head.headers, body)
}

pub(super) fn hello(name: &str, secret: ClientSecret) -> Vec<u8> {
    Hello { name: name.parse().unwrap(), secret, congestion: Choice::Auto, max_rate: None }.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_over_http2_has_the_same_answer() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let server = testbed.server.address();
    let wrong = ClientSecret::from_random([7; 32]);
    let of_version = |version, secret| [&preamble(version)[..], &hello("phone", secret)[6..]].concat();
    let other_version = of_version(WIRE_VERSION + 1, wrong.clone());
    let (none, mut token) = (HeaderMap::new(), HeaderMap::new());
    token.insert("docxy-session", "A".repeat(54).parse().unwrap());
    let mut answers = Vec::new();
    for (method, path, headers, body) in [
        (Method::GET, "/", &none, b"".to_vec()),
        (Method::GET, "/v2/", &none, b"".to_vec()),
        (Method::POST, "/login", &none, b"user=admin".to_vec()),
        (Method::POST, "/", &none, b"".to_vec()),
        (Method::POST, "/", &none, b"anything at all".to_vec()),
        (Method::POST, "/", &none, vec![0xff; 200_000]),
        (Method::POST, "/", &none, hello("phone", wrong.clone())),
        (Method::POST, "/", &none, hello("nobody", link.secret.clone())),
        (Method::POST, "/", &none, other_version),
        (Method::POST, "/", &token, b"".to_vec()),
    ] {
        let mut requests = http2(server, link.pin).await.ready().await.unwrap();
        for again in 0..3 {
            requests = requests.ready().await.unwrap();
            let (status, mut head, said) = ask(&mut requests, method.clone(), path, headers, &body).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}, {again}");
            head.remove("date").unwrap();
            answers.push((head, said));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(answers[0].1.len() < 100);

    // A client of this server is told why.
    for (version, reason) in
        [(WIRE_VERSION + 1, "9 the server is older"), (WIRE_VERSION - 1, "8 upgrade docxy-client to")]
    {
        let body = of_version(version, link.secret.clone());
        let mut requests = http2(server, link.pin).await.ready().await.unwrap();
        let (status, head, _) = ask(&mut requests, Method::POST, "/", &none, &body).await;
        assert_eq!(status, StatusCode::OK);
        assert!(head["docxy-close"].to_str().unwrap().starts_with(reason), "{head:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_has_that_answer_with_and_without_a_protocol_name() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    for protocols in [&["http/1.1"][..], &[]] {
        let mut tls = connect(testbed.server.address(), link.pin, protocols).await;
        tls.write_all(b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n").await.unwrap();
        tls.write_all(
            b"POST / HTTP/1.1\r\nhost: example.org\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab",
        )
        .await
        .unwrap();
        let mut said = String::new();
        timeout(REQUEST_TIMEOUT, tls.read_to_string(&mut said)).await.unwrap().unwrap();
        assert_eq!(said.matches("HTTP/1.1 404 Not Found\r\n").count(), 2, "{said}");
        assert_eq!(said.matches("404 page not found\n").count(), 2, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_has_not_ended_is_not_told_from_anything_else() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let wrong = hello("phone", ClientSecret::from_random([7; 32]));
    for (path, body) in [("/", &wrong[..]), ("/", b"anything at all"), ("/else", b"anything at all")] {
        let mut requests = http2(testbed.server.address(), link.pin).await.ready().await.unwrap();
        let request = Request::post(format!("https://example.org{path}")).body(()).unwrap();
        let (mut response, mut send) = requests.send_request(request, false).unwrap();
        send.send_data(Bytes::copy_from_slice(body), false).unwrap();
        let early = timeout(std::time::Duration::from_millis(500), &mut response).await;
        assert!(early.is_err(), "{path}: {early:?}");
        send.send_data(Bytes::new(), true).unwrap();
        let response = timeout(REQUEST_TIMEOUT, response).await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}
