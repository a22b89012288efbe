//! Client and server of different versions: neither serves, and both say which program to upgrade.

use std::sync::Arc;

use docxy_protocol::{
    control::CloseCode,
    identity::Pin,
    link::Link,
    version::{WIRE_VERSION, preamble},
};
use docxy_tests::{docxy, process::PROCESS_TIMEOUT};
use docxy_transport::quic::tls;
use http::StatusCode;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use serde_json::Value;
use tokio::{task::block_in_place, time::timeout};

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    quic_client::{close_code, dial, hello, send_stream},
    scripted_server::{Greeting, ScriptedResponse, ScriptedServer},
    testbed::{Testbed, invite},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

/// What the first version sent as its Hello, byte by byte.
const FIRST_HELLO: &[u8] = b"\0\0\0)\0\x06laptopkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\0";

/// Connects as a client of this version, and sends its Hello.
async fn dial_as(version: u16, hello: &[u8], testbed: &Testbed, pin: Pin) -> Connection {
    let config = ClientConfig::new(Arc::new(tls::client_config(pin, version, false).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, testbed.server.address(), "docxy.invalid").unwrap();
    let connection = timeout(REQUEST_TIMEOUT, connecting).await.unwrap().unwrap();
    // The server may close before it.
    if let Ok((mut send, _)) = connection.open_bi().await {
        let _ = send.write_all(hello).await;
    }
    connection
}

/// The server's count of clients that speak another version, and of strangers.
fn counts(testbed: &mut Testbed) -> (u64, u64) {
    let status = block_in_place(|| testbed.server.status().unwrap());
    let count = |name| docxy::count(&status, name).unwrap();
    (count("other_versions"), count("refused"))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_all_earlier_versions_are_told_to_upgrade() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    for version in 1..WIRE_VERSION {
        // What follows the version is another version's, and is not read.
        let marked = [&preamble(version)[..], &[0xff; 100]].concat();
        let hello = if version == 1 { FIRST_HELLO } else { &marked };
        let connection = dial_as(version, hello, &testbed, link.pin).await;
        match timeout(REQUEST_TIMEOUT, connection.closed()).await.unwrap() {
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8(close.reason.to_vec()).unwrap();
                assert!(reason.starts_with("upgrade docxy-client to "), "version {version}: {reason}");
                // The first version shows the text of codes that it does not know: it knew eight.
                assert!(close.error_code.into_inner() >= 8, "version {version}");
            }
            other => panic!("version {version}: {other}"),
        }
    }
    assert_eq!(counts(&mut testbed), (u64::from(WIRE_VERSION) - 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_later_version_is_told_that_the_server_is_old() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    for (version, code) in [
        (WIRE_VERSION + 1, CloseCode::ServerOutdated),
        (u16::MAX, CloseCode::ServerOutdated),
        (WIRE_VERSION - 1, CloseCode::ClientOutdated),
    ] {
        let connection = dial(&testbed, &link).await;
        // What follows the version is another version's, and is not read.
        send_stream(&connection, &[&preamble(version)[..], &[0xff; 100]].concat()).await;
        assert_eq!(close_code(&connection).await, Some(code), "version {version}");
    }
    assert_eq!(counts(&mut testbed), (3, 0));
    let connection = dial(&testbed, &link).await;
    let first = [&preamble(WIRE_VERSION)[..4], &hello(&link)[6..]].concat();
    send_stream(&connection, &first).await;
    assert!(close_code(&connection).await.is_some(), "a Hello without its version");
}

/// A client of this server says this on `/health` and to engines.
async fn assert_says(greeting: Greeting, state: &str, text: &str) {
    let mut scripted = ScriptedServer::greeting(greeting, |_| ScriptedResponse::new(200, &[], b"{}")).await;
    let says = |health: &Value| health["reason"].as_str().is_some_and(|reason| reason.contains(text));
    let client = &mut scripted.client;
    let health =
        block_in_place(|| client.wait_for_health("say what to upgrade", PROCESS_TIMEOUT, says)).unwrap();
    assert_eq!(health["tunnel"], state);
    let response = scripted.engine.get(LATEST, &[("authorization", "Bearer t"), ANY]).await;
    let (status, _, message) = response.error();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(message.contains(text), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_that_a_server_of_the_first_version_is_to_be_upgraded() {
    let text = format!("upgrade docxy-server to {}", env!("CARGO_PKG_VERSION"));
    assert_says(Greeting::Version(1), "refused", &text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_that_a_server_that_calls_itself_old_is_to_be_upgraded() {
    let text = format!("upgrade docxy-server to {}", env!("CARGO_PKG_VERSION"));
    let close = Greeting::Close { code: CloseCode::ServerOutdated.code(), reason: b"too old".to_vec() };
    assert_says(close, "refused", &text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_too_old_shows_what_the_server_says() {
    let text = "upgrade docxy-client to 9.9.9";
    let close = Greeting::Close { code: CloseCode::ClientOutdated.code(), reason: text.into() };
    assert_says(close, "refused", text).await;
}
