//! The connection to the server is lost during a pull, and the engine does not notice.

use std::time::{Duration, Instant};

use docxy_tests::process::PROCESS_TIMEOUT;
use futures_util::future::join_all;
use hub_stand_in::{Blob, Fault, Manifest, Rule, Site, TransferState, media_type};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    raw_http::{End, RawConnection, RawResponse},
    relayed_testbed::{MIB, RelayedTestbed, assert_whole, begin},
    testbed::{ALICE, Testbed, bytes, client, config, count, hub, wait_for_count},
};

/// Bodies that lost their connection before their end.
const INTERRUPTIONS: &str = "transfers/interruptions";

fn crash(testbed: &mut Testbed) {
    block_in_place(|| testbed.server.process().kill()).unwrap();
}

fn start_again(testbed: &mut Testbed) {
    block_in_place(|| testbed.server.start_again()).unwrap();
}

/// The interrupted transfers on `/health`.
async fn interrupted(engine: &HttpClient) -> Vec<Value> {
    let health = engine.get("/health", &[]).await.json();
    let transfers = health["transfers"].as_array().unwrap().iter();
    transfers.filter(|transfer| !transfer["waits_for"].is_null()).cloned().collect()
}

/// Waits until this number of transfers waits for the tunnel. On a leg of two connections, a transfer may first be asked
/// for again on the one that is still up.
async fn wait_for_interrupted(engine: &HttpClient, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let transfers = interrupted(engine).await;
        if transfers.iter().filter(|transfer| transfer["waits_for"] == "tunnel").count() == count {
            return transfers;
        }
        assert!(started.elapsed() < PROCESS_TIMEOUT, "{transfers:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_crash_costs_less_than_one_mebibyte() {
    let mut relayed = RelayedTestbed::new().await;
    let (blob, path) = relayed.testbed.with_blob(1, 24 * MIB);
    let before = relayed.relay.bytes_down();
    // The engine reads no further, so there are complete segments to lose.
    let raw = begin(&relayed.testbed, &path, 5 * MIB).await;
    let sent =
        |transfers: &[hub_stand_in::Transfer]| transfers.iter().any(|transfer| transfer.sent > 8 * MIB);
    relayed.testbed.hub.transfers().wait_until(sent, PROCESS_TIMEOUT).await.unwrap();
    crash(&mut relayed.testbed);
    start_again(&mut relayed.testbed);
    assert_whole(&raw.rest().await, &blob);
    wait_for_count(&mut relayed.testbed.client, INTERRUPTIONS, 1);
    let crossed = relayed.relay.bytes_down() - before;
    // Packet headers and acknowledgements take some bytes, too.
    let allowed = blob.len() * 106 / 100 + MIB;
    println!("{crossed} bytes crossed for a blob of {}", blob.len());
    assert!(crossed <= allowed, "{crossed} bytes crossed, and {allowed} are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_lists_interrupted_pulls() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 16 * MIB);
    let (small, small_path) = testbed.with_blob(2, 300_000);
    testbed.hub.faults().arm(Rule::once(Fault::StallAt { byte: 200_000 }).on(small.digest().hex()));
    let raw = begin(&testbed, &path, 2 * MIB).await;
    let small_raw = begin(&testbed, &small_path, 100_000).await;
    crash(&mut testbed);
    // The engines read on until there is no more data.
    let (raw, small_raw) = (tokio::spawn(raw.rest()), tokio::spawn(small_raw.rest()));
    wait_for_count(&mut testbed.client, INTERRUPTIONS, 2);
    let transfers = wait_for_interrupted(&testbed.engine, 2).await;
    for blob in [&blob, &small] {
        let entry = transfers.iter().find(|entry| entry["digest"] == blob.digest().as_str());
        let entry = entry.unwrap_or_else(|| panic!("{} is not in {transfers:?}", blob.digest()));
        assert!(entry["bytes"].as_u64().unwrap() > 0 && entry["length"] == blob.len(), "{entry}");
        assert_eq!(
            (&entry["image"], &entry["waits_for"]),
            (&"docker.io/library/hello".into(), &"tunnel".into())
        );
        assert!(entry["reason"].as_str().unwrap().starts_with("tunnel: "), "{entry}");
    }
    start_again(&mut testbed);
    assert_whole(&raw.await.unwrap(), &blob);
    assert_whole(&small_raw.await.unwrap(), &small);
    assert!(interrupted(&testbed.engine).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_range_is_continued() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 16 * MIB);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (start, end) = (3 * MIB as usize + 5, 15 * MIB as usize + 1);
    let range = format!("bytes={start}-{}", end - 1);
    let headers = [("authorization", bearer.as_str()), ("range", &range), ("connection", "close")];
    let mut raw = RawConnection::get(testbed.client.address(), &path, &headers).await;
    raw.read_body(MIB as usize).await;
    crash(&mut testbed);
    start_again(&mut testbed);
    let received = raw.rest().await;
    assert!(received.status() == 206 && received.body() == &bytes(&blob)[start..end]);
    let request = testbed.hub.request_log().of(Site::Cdn).pop().unwrap();
    let last = format!("-{}", end - 1);
    assert!(request.header("range").unwrap().ends_with(&last), "{request:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_layer_is_continued_again() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 24 * MIB);
    let mut first = begin(&testbed, &path, 5 * MIB).await;
    first.read_body(7 * MIB as usize).await;
    let mut layer = first.body().to_vec();
    drop(first);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let range = format!("bytes={}-", layer.len());
    let headers = [("authorization", bearer.as_str()), ("range", &range), ("connection", "close")];
    let mut second = RawConnection::get(testbed.client.address(), &path, &headers).await;
    second.read_body(MIB as usize).await;
    crash(&mut testbed);
    start_again(&mut testbed);
    let received = second.rest().await;
    let content_range = format!("content-range: bytes {}-{}/{}\r\n", layer.len(), blob.len() - 1, blob.len());
    assert!(received.status() == 206 && received.head().contains(&content_range), "{}", received.head());
    layer.extend_from_slice(received.body());
    assert!(received.end == End::Fin && layer == bytes(&blob), "{} bytes", layer.len());
    wait_for_count(&mut testbed.client, INTERRUPTIONS, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_ranges_are_continued() {
    const CHUNK: usize = 8 * MIB as usize;
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let address = testbed.client.address();
    let chunks = (0..4).map(async |n| {
        let range = format!("bytes={}-", n * CHUNK);
        let mut raw =
            RawConnection::get(address, &path, &[("authorization", &bearer), ("range", &range)]).await;
        raw.read_body(MIB as usize).await;
        raw
    });
    let mut chunks = join_all(chunks).await;
    crash(&mut testbed);
    start_again(&mut testbed);
    join_all(chunks.iter_mut().map(|raw| raw.read_body(CHUNK))).await;
    wait_for_count(&mut testbed.client, INTERRUPTIONS, 4);
    let content = bytes(&blob);
    for (n, raw) in chunks.iter().enumerate() {
        assert!(raw.status() == 206 && raw.body()[..CHUNK] == content[n * CHUNK..(n + 1) * CHUNK], "{n}");
    }
    // The engine has its parts, and closes.
    drop(chunks);
    let all_ended = |all: &[hub_stand_in::Transfer]| all.iter().all(|one| one.state != TransferState::Live);
    testbed.hub.transfers().wait_until(all_ended, PROCESS_TIMEOUT).await.unwrap();
    let is_idle = |client: &mut docxy_tests::docxy::Client| {
        let footprint = client.footprint().unwrap();
        footprint.count("requests") == 0 && footprint.count("segments") == 0
    };
    let started = Instant::now();
    while !block_in_place(|| is_idle(&mut testbed.client)) {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "{:?}", testbed.client.footprint());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_manifest_arrives_whole() {
    let RelayedTestbed { mut testbed, relay } = RelayedTestbed::new().await;
    let document =
        json!({ "schemaVersion": 2, "layers": [], "annotations": { "long": "x".repeat(400_000) } });
    let manifest = Manifest::of_json(media_type::OCI_MANIFEST, &document);
    testbed.hub.store().publish_manifest("library/hello", "long", &manifest);
    let bearer = testbed.engine.anonymous("library/hello").await;
    relay.disconnect_after(100_000);
    let (engine, headers) = (testbed.engine, [("authorization", bearer.as_str()), ANY]);
    let pull = engine.get("/v2/library/hello/manifests/long", &headers);
    let reconnect = async {
        while !relay.is_disconnected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Before the network is back: QUIC would send the lost packets again, and TCP has lost none.
        relay.block_flows();
        relay.set_connected(true);
    };
    let (response, ()) = tokio::join!(pull, reconnect);
    assert!(response.whole && response.body == manifest.bytes, "{} bytes", response.body.len());
    wait_for_count(&mut testbed.client, INTERRUPTIONS, 1);
    let requests = testbed.hub.request_log().count(|entry| entry.path.ends_with("/manifests/long"));
    assert_eq!(requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuation_works_without_ranges() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 16 * MIB);
    let raw = begin(&testbed, &path, 6 * MIB).await;
    crash(&mut testbed);
    testbed.hub.faults().arm(Rule::always(Fault::IgnoreRange));
    start_again(&mut testbed);
    assert_whole(&raw.rest().await, &blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_ends_incomplete_when_patience_is_over() {
    let hub = hub().await;
    let config = config(&hub);
    let mut testbed = Testbed::with(hub, &config, &["--patience", "2"]);
    // More than what may have arrived when the server dies: that is delivered.
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    let started = Instant::now();
    crash(&mut testbed);
    let received = raw.rest().await;
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert!((received.body().len() as u64) < blob.len() && bytes(&blob).starts_with(received.body()));
    assert_eq!(received.end, End::Fin, "a reset would fail a pull that could be resumed");
    wait_for_count(&mut testbed.client, "transfers/failures", 1);
    assert!(interrupted(&testbed.engine).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_continues_soon_after_an_outage() {
    let relayed = RelayedTestbed::new().await;
    let RelayedTestbed { mut testbed, relay } = relayed;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let mut raw = begin(&testbed, &path, 2 * MIB).await;
    relay.set_connected(false);
    let reading = tokio::spawn(async move {
        raw.read_body(63 * MIB as usize).await;
        raw.rest().await
    });
    wait_for_count(&mut testbed.client, "tunnel/silent_connections", 1);
    // Long enough for probes on the old connection to have become rare.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = relay.bytes_down();
    relay.set_connected(true);
    let reconnected = Instant::now();
    while relay.bytes_down() < before + MIB {
        assert!(reconnected.elapsed() < Duration::from_secs(30), "no data arrived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = reconnected.elapsed();
    println!("a pull went on {took:?} after the network was back");
    // 3 s on an idle machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_whole(&reading.await.unwrap(), &blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_percent_loss_repeats_no_data() {
    let RelayedTestbed { testbed, relay } = RelayedTestbed::new().await;
    let (blob, path) = testbed.with_blob(1, 32 * MIB);
    let before = relay.bytes_down();
    let raw = begin(&testbed, &path, 2 * MIB).await;
    relay.set_loss(0.1);
    assert_whole(&raw.rest().await, &blob);
    let crossed = relay.bytes_down() - before;
    println!("{crossed} bytes crossed for a blob of {}", blob.len());
    assert!(crossed <= blob.len() * 106 / 100 + 2 * MIB, "{crossed} bytes crossed");
    let counts = ["tunnel/silent_connections", INTERRUPTIONS].map(|name| count(&testbed.client, name));
    assert_eq!(counts, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_port_keeps_the_connection() {
    let RelayedTestbed { testbed, relay } = RelayedTestbed::quic().await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    relay.rebind_ports();
    assert_whole(&raw.rest().await, &blob);
    assert_eq!(count(&testbed.client, "tunnel/disconnects"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_flow_is_replaced() {
    let RelayedTestbed { testbed, relay } = RelayedTestbed::new().await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    relay.block_flows();
    let started = Instant::now();
    assert_whole(&raw.rest().await, &blob);
    println!("a pull was over {:?} after its flow had been blocked", started.elapsed());
    let counts = ["tunnel/silent_connections", "tunnel/connects", "tunnel/disconnects"];
    assert_eq!(counts.map(|name| count(&testbed.client, name)), [1, 2, 0], "replaced before it timed out");
}

/// A transfer of a private blob by `bearer`, whose token expires while the server is down.
async fn with_expired_token(testbed: &mut Testbed, bearer: &str) -> (Blob, RawResponse) {
    let blob = Blob::generated(1, 16 * MIB);
    testbed.hub.store().add_blob("alice/private", blob.clone());
    let path = format!("/v2/alice/private/blobs/{}", blob.digest());
    let mut raw = RawConnection::get(
        testbed.client.address(),
        &path,
        &[("authorization", bearer), ("connection", "close")],
    )
    .await;
    raw.read_body(2 * MIB as usize).await;
    crash(testbed);
    testbed.hub.tokens().revoke_all();
    start_again(testbed);
    (blob, raw.rest().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_renewed_during_a_pull() {
    let mut testbed = Testbed::new().await;
    let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let (blob, received) = with_expired_token(&mut testbed, &bearer).await;
    assert_whole(&received, &blob);
    assert_eq!(count(&testbed.client, "transfers/tokens_renewed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_ends_when_its_token_cannot_be_renewed() {
    let mut testbed = Testbed::new().await;
    // Obtained through another client of the same server.
    let other = client(&crate::support::testbed::invite(&mut testbed.server, "desktop"), &[]);
    let bearer = HttpClient::at(other.address()).logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let (blob, received) = with_expired_token(&mut testbed, &bearer).await;
    assert!((received.body().len() as u64) < blob.len() && bytes(&blob).starts_with(received.body()));
    assert_eq!(received.end, End::Fin);
    wait_for_count(&mut testbed.client, "transfers/failures", 1);
}
