//! People read a server's texts: in the client's log, on `/health`, in an engine's error. Control characters
//! and long texts change neither the log's lines nor the terminal.

use docxy_protocol::{
    chunk::ChunkHeader,
    fault::{FaultKind, Hop},
    frame,
    reply::{BodyFraming, Reply, Response},
};
use docxy_tests::process::{PROCESS_TIMEOUT, Process};
use http::StatusCode;
use quinn::VarInt;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpResponse},
    quic_client::{dial, ping, read_response, send_hello, send_stream},
    scripted_server::{Greeting, ScriptedResponse, ScriptedServer},
    testbed::{Testbed, invite, wait_for_count, wait_until_up},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

/// Ends the line, forges another one, sets the terminal's title and colour, and reverses the text.
const EVIL: &str = "down\r\n2026-12-01T00:00:00Z  INFO forged: all is well\u{1b}]0;title\u{7}\u{1b}[31m\u{9b}2J\u{202e}\u{2028}";

/// The maximum length of a fault's text, including its prefix.
const FAULT_TEXT_MAX: usize = 1100;

/// The frame of a fault with this text, uncleaned.
fn fault(detail: &str) -> Vec<u8> {
    frame::encode(&(1_u32, Hop::Registry, FaultKind::Unreachable, detail)).unwrap()
}

/// The frame of a Welcome with this version.
fn welcome(version: &str) -> Vec<u8> {
    frame::encode(&(0_u32, version, vec!["docker.io"], 0_u64)).unwrap()
}

/// A complete frame of this length, which is above the limit.
fn oversize(bytes: usize) -> Vec<u8> {
    let mut frame = u32::try_from(bytes).unwrap().to_be_bytes().to_vec();
    frame.extend(EVIL.bytes().cycle().take(bytes));
    frame
}

fn assert_printable(text: &str) {
    let is_control =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
    assert!(text.chars().count() <= FAULT_TEXT_MAX, "{} characters", text.chars().count());
    assert!(!text.chars().any(is_control), "{text:?}");
}

fn message(response: &HttpResponse) -> String {
    let (_, _, message) = response.error();
    assert_printable(&message);
    message
}

/// Asserts that no part of the text is a line of its own, or a control character.
fn assert_log(scripted: &mut ScriptedServer) {
    let log = scripted.client.process().output();
    assert!(!log.contains(['\u{1b}', '\u{7}', '\r']), "a control character in the log");
    let forged =
        |line: &str| line.starts_with("2026-12-01T00:00:00Z") || line.chars().count() > 4 * FAULT_TEXT_MAX;
    assert!(!log.lines().any(forged), "a forged line in the log, or one that is too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_texts_are_clean_and_short() {
    for (sent, expected) in [
        (fault(EVIL), "down 2026-12-01T00:00:00Z INFO forged"),
        (fault(&EVIL.repeat(400)), "down 2026-12-01T00:00:00Z INFO forged"),
        (oversize(1 << 20), "a frame of 1048576 bytes"),
    ] {
        let mut scripted = ScriptedServer::new(move |_| ScriptedResponse::bytes(sent.clone())).await;
        let received = message(&scripted.engine.get(LATEST, &[("authorization", "Bearer t"), ANY]).await);
        assert!(received.replace("  ", " ").contains(expected), "{received}");
        assert_log(&mut scripted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_texts_after_the_head_are_clean_and_short() {
    let head = Response {
        status: StatusCode::OK,
        headers: Default::default(),
        body: BodyFraming::Chunked { length: Some(9) },
    };
    let mut bytes = frame::encode(&Reply::Response(head)).unwrap();
    bytes.extend_from_slice(&ChunkHeader::Data(3).to_bytes());
    bytes.extend_from_slice(b"abc");
    bytes.extend_from_slice(&ChunkHeader::Aborted.to_bytes());
    // The client does not retry after a permanent fault, so this one is its last failure.
    bytes.extend(frame::encode(&(Hop::Cdn, FaultKind::Mismatch, EVIL.repeat(400))).unwrap());
    let mut scripted = ScriptedServer::new(move |_| ScriptedResponse::bytes(bytes.clone())).await;
    let response = scripted.engine.get(LATEST, &[("authorization", "Bearer t"), ANY]).await;
    assert!(!response.whole, "{response:?}");
    wait_for_count(&mut scripted.client, "transfers/failures", 1);
    let health = scripted.engine.get("/health", &[]).await.json();
    let reason = health["since_start"]["transfers"]["last_failure"]["reason"].as_str().unwrap();
    assert!(reason.contains("forged"), "{reason}");
    assert_printable(reason);
    assert_log(&mut scripted);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_reasons_of_clients_are_clean_and_short() {
    let mut testbed = Testbed::new().await;
    let link = invite(&mut testbed.server, "phone").parse().unwrap();
    for (n, reason) in [EVIL.to_owned(), EVIL.repeat(400)].into_iter().enumerate() {
        let connection = dial(&testbed, &link).await;
        let _control = send_hello(&connection, &link).await;
        // The response proves that the server has authenticated it.
        let receive = send_stream(&connection, &ping()).await;
        assert!(!read_response(receive).await.unwrap().is_empty());
        connection.close(VarInt::from_u32(99), reason.as_bytes());
        let is_disconnected = |status: &Value| status["connections"] == 1;
        block_in_place(|| {
            testbed.server.wait_for_status("lose the client", PROCESS_TIMEOUT, is_disconnected)
        })
        .unwrap();
        let has_reason = |process: &Process| {
            let lines = process.output().lines().filter(|line| line.contains("forged")).count();
            Ok((lines == n + 1).then_some(()))
        };
        block_in_place(|| testbed.server.process().wait_for("log the reason", PROCESS_TIMEOUT, has_reason))
            .unwrap();
    }
    let log = testbed.server.process().output();
    assert!(!log.contains(['\u{1b}', '\u{7}', '\r']), "a control character in the log");
    let forged =
        |line: &str| line.starts_with("2026-12-01T00:00:00Z") || line.chars().count() > 4 * FAULT_TEXT_MAX;
    assert!(!log.lines().any(forged), "a forged line in the log, or one that is too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_servers_are_clean_and_short() {
    for version in [EVIL.to_owned(), EVIL.repeat(400)] {
        let greeting = Greeting::Bytes(welcome(&version));
        let mut scripted =
            ScriptedServer::greeting(greeting, |_| ScriptedResponse::new(200, &[], b"{}")).await;
        wait_until_up(&mut scripted.client);
        wait_for_count(&mut scripted.client, "tunnel/connects", 1);
        let health = scripted.engine.get("/health", &[]).await.json();
        let version_text = health["since_start"]["tunnel"]["server_version"].as_str().unwrap();
        assert!(version_text.contains("forged") && version_text.chars().count() < 400, "{version_text}");
        assert_printable(version_text);
        assert_log(&mut scripted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn close_reasons_of_servers_are_clean_and_short() {
    for reason in [EVIL.to_owned(), EVIL.repeat(10_000)] {
        let greeting = Greeting::Close { code: 99, reason: reason.into_bytes() };
        let mut scripted =
            ScriptedServer::greeting(greeting, |_| ScriptedResponse::new(200, &[], b"{}")).await;
        let has_reason = |health: &Value| health["reason"].as_str().is_some_and(|it| it.contains("forged"));
        let client = &mut scripted.client;
        block_in_place(|| client.wait_for_health("be disconnected", PROCESS_TIMEOUT, has_reason)).unwrap();
        let health = scripted.engine.get("/health", &[]).await;
        assert_eq!(health.json()["tunnel"], "connecting");
        assert_printable(health.json()["reason"].as_str().unwrap());
        let received = message(&scripted.engine.get(LATEST, &[("authorization", "Bearer t"), ANY]).await);
        assert!(received.contains("forged"), "{received}");
        assert_log(&mut scripted);
    }
}
