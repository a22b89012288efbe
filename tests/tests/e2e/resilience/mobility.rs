//! The laptop sleeps, or its NAT loses its state: pulls continue, and new ones start.

use std::time::Instant;

use docxy_protocol::limits::IDLE_TIMEOUT;
use http::StatusCode;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, PROMPT_TIMEOUT},
    relayed_testbed::{MIB, RelayedTestbed, assert_whole, begin},
    testbed::{Testbed, count},
};

async fn assert_served_at_once(engine: &HttpClient) {
    let started = Instant::now();
    let bearer = engine.anonymous("library/hello").await;
    let path = "/v2/library/hello/manifests/latest";
    let response = engine.get(path, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_continues_after_sleep() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    block_in_place(|| {
        testbed.client.process().signal("STOP").unwrap();
        // It sleeps for longer than the server's idle timeout.
        let has_no_client = |status: &serde_json::Value| status["connections"] == 0;
        testbed.server.wait_for_status("lose its client", 3 * IDLE_TIMEOUT, has_no_client).unwrap();
        testbed.client.process().signal("CONT").unwrap();
    });
    let woken = Instant::now();
    assert_whole(&raw.rest().await, &blob);
    println!("a pull was over {:?} after the laptop woke up", woken.elapsed());
    assert_served_at_once(&testbed.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nat_rebinding_keeps_the_connection() {
    let RelayedTestbed { testbed, relay } = RelayedTestbed::quic().await;
    for _ in 0..3 {
        relay.rebind_ports();
        assert_served_at_once(&testbed.engine).await;
    }
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let mut raw = begin(&testbed, &path, MIB).await;
    for part in 1..=3 {
        relay.rebind_ports();
        raw.read_body((part * 16 * MIB) as usize).await;
    }
    assert_whole(&raw.rest().await, &blob);
    let counts = ["tunnel/connects", "tunnel/silent_connections", "tunnel/disconnects"];
    assert_eq!(counts.map(|name| count(&testbed.client, name)), [1, 0, 0]);
}
