//! Pulls over TCP, and how a session over TCP ends.

use std::time::Instant;

use docxy_protocol::control::CloseCode;
use docxy_tests::{
    docxy::Client,
    process::{PROCESS_TIMEOUT, binary, run},
};
use http::StatusCode;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::block_in_place,
};

use crate::support::{
    http_client::{ANY, PROMPT_TIMEOUT, REVOCATION_TIMEOUT},
    relayed_testbed::{MIB, assert_whole, begin},
    testbed::{Testbed, bytes, config, hub, invite, server, wait_until_down},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

/// A testbed whose client uses TCP.
async fn testbed() -> Testbed {
    let hub = hub().await;
    let config = config(&hub);
    Testbed::with(hub, &config, &["--leg", "tcp"])
}

/// Waits until a client's `/health` has this state and this reason.
fn wait_for_reason(client: &mut Client, state: &str, reason: &str) {
    let says = |health: &Value| {
        health["tunnel"] == state && health["reason"].as_str().is_some_and(|text| text.contains(reason))
    };
    block_in_place(|| client.wait_for_health("say the reason", PROCESS_TIMEOUT, says)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled() {
    let testbed = testbed().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let authorized = [("authorization", bearer.as_str()), ANY];
    assert_eq!(testbed.engine.get(LATEST, &authorized).await.status, StatusCode::OK);
    for (seed, len) in [(1, 1000), (2, MIB), (3, 40 * MIB)] {
        let (blob, path) = testbed.with_blob(seed, len);
        let response = testbed.engine.get(&path, &authorized).await;
        assert!(response.whole && response.body == bytes(&blob), "{len} bytes");
    }
    let health = testbed.engine.get("/health", &[]).await.json();
    assert_eq!(health["leg"], "tcp");
    assert_eq!(health["tcp_congestion"]["name"] == "bbr", health["tcp_congestion"]["advice"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_after_a_cancelled_one_is_complete() {
    let testbed = testbed().await;
    for seed in 1..5 {
        let (blob, path) = testbed.with_blob(seed, 60 * MIB);
        for _ in 0..3 {
            drop(begin(&testbed, &path, 7 * MIB).await);
        }
        assert_whole(&begin(&testbed, &path, 1).await.rest().await, &blob);
    }
    assert_eq!(testbed.engine.get("/health", &[]).await.json()["since_start"]["tunnel"]["connects"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_is_told_so_at_once_and_again() {
    let mut testbed = testbed().await;
    block_in_place(|| {
        testbed.server.revoke("laptop").unwrap();
        let is_refused = |health: &Value| health["tunnel"] == "refused";
        testbed.client.wait_for_health("be refused", REVOCATION_TIMEOUT, is_refused).unwrap();
    });
    wait_for_reason(&mut testbed.client, "refused", CloseCode::Revoked.reason());
    block_in_place(|| {
        testbed.client.stop().unwrap();
        testbed.client.start_again_with(&["--leg", "tcp"]).unwrap();
    });
    wait_for_reason(&mut testbed.client, "refused", CloseCode::Revoked.reason());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_the_server_does_not_know_is_refused() {
    let hub = hub().await;
    let mut server = server(&config(&hub));
    let link = invite(&mut server, "laptop").replace("laptop", "phone");
    let mut client = block_in_place(|| Client::start_with(None, &link, &["--leg", "tcp"])).unwrap();
    wait_for_reason(&mut client, "refused", CloseCode::UnknownClient.reason());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_finishes_its_transfers_whatever_strangers_do() {
    let mut testbed = testbed().await;
    let _stranger = TcpStream::connect(testbed.server.address()).await.unwrap();
    let (blob, path) = testbed.with_blob(1, 100 * MIB);
    let transfer = begin(&testbed, &path, MIB).await;
    block_in_place(|| {
        testbed.server.process().signal("TERM").unwrap();
        let is_draining = |status: &Value| status["draining"] == true;
        testbed.server.wait_for_status("drain", PROCESS_TIMEOUT, is_draining).unwrap();
    });
    assert_whole(&transfer.rest().await, &blob);
    let finished = Instant::now();
    let status = block_in_place(|| testbed.server.process().wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    assert!(status.success() && finished.elapsed() < PROMPT_TIMEOUT, "{status}, {:?}", finished.elapsed());
    wait_until_down(&mut testbed.client);
    // The next process listens at the same port.
    block_in_place(|| testbed.server.start_again()).unwrap();
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_at_the_next_process() {
    let hub = hub().await;
    let mut config = config(&hub);
    config.handover = true;
    let mut testbed = Testbed::with(hub, &config, &["--leg", "tcp"]);
    let (blob, path) = testbed.with_blob(1, 100 * MIB);
    let transfer = begin(&testbed, &path, MIB).await;
    block_in_place(|| {
        testbed.server.stop().unwrap();
        testbed.server.start_again().unwrap();
    });
    assert_whole(&transfer.rest().await, &blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_tcp_port_is_taken_says_so() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(binary("docxy-server").unwrap());
    command
        .args(["run", "--public", "127.0.0.1", "--listen", &taken.to_string(), "--state"])
        .arg(state.path());
    let said = block_in_place(|| run(command, PROCESS_TIMEOUT).unwrap().refused().unwrap());
    assert!(said.contains(&format!("TCP {taken}")), "{said}");
}
