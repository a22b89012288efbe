//! Content that an engine no longer wants, or does not read, is not fetched.

use std::time::{Duration, Instant};

use docxy_protocol::limits::BULK_WINDOW_MAX;
use docxy_tests::docxy::exchanges_with;
use futures_util::future::join_all;
use hub_stand_in::{Fault, Rule, Transfer, TransferState};

use crate::support::{
    http_client::{HttpClient, PROMPT_TIMEOUT, REQUEST_TIMEOUT},
    raw_http::RawConnection,
    relayed_testbed::RelayedTestbed,
    testbed::{Testbed, bytes, config, hub},
};

/// More than all windows and socket buffers can hold.
const LARGE_BLOB: u64 = 256 << 20;

async fn wait_until_all_end(testbed: &Testbed) {
    let all_ended = |all: &[Transfer]| all.iter().all(|transfer| transfer.state != TransferState::Live);
    testbed.hub.transfers().wait_until(all_ended, PROMPT_TIMEOUT).await.unwrap();
}

async fn begin(testbed: &Testbed, path: &str, at_least: usize) -> RawConnection {
    let bearer = testbed.engine.anonymous("library/hello").await;
    let mut raw = RawConnection::get(testbed.client.address(), path, &[("authorization", &bearer)]).await;
    raw.read_body(at_least).await;
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_stops_the_cdn_at_once() {
    let testbed = Testbed::new().await;
    let (_, path) = testbed.with_blob(1, LARGE_BLOB);
    // At once, and after a while.
    for read in [1, 40 << 20] {
        let engine = begin(&testbed, &path, read).await;
        assert_eq!(testbed.hub.transfers().live(), 1);
        drop(engine);
        wait_until_all_end(&testbed).await;
    }
    let transfers = testbed.hub.transfers().snapshot();
    assert!(transfers.iter().all(|transfer| transfer.state == TransferState::Broken), "{transfers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_after_a_disconnect_is_complete() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 20 << 20);
    drop(begin(&testbed, &path, 7 << 20).await);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(response.whole && response.body == bytes(&blob));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_stops_a_silent_cdn_at_once() {
    let testbed = Testbed::new().await;
    for (seed, len, stall) in [(1, 200_000, 100_000), (2, 20 << 20, 7 << 20)] {
        let (_, path) = testbed.with_blob(seed, len);
        testbed.hub.faults().arm(Rule::once(Fault::StallAt { byte: stall }));
        let engine = begin(&testbed, &path, stall as usize - 70_000).await;
        assert_eq!(testbed.hub.transfers().live(), 1);
        drop(engine);
        wait_until_all_end(&testbed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_of_a_slow_engine_stops_the_cdn_at_once() {
    let testbed = Testbed::new().await;
    let (_, path) = testbed.with_blob(1, LARGE_BLOB);
    let mut engine = begin(&testbed, &path, 1).await;
    for read in 1..=20 {
        engine.read_body(read * 100_000).await;
        // Slow reading.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(engine);
    wait_until_all_end(&testbed).await;
    let sent = testbed.hub.transfers().bytes_sent();
    assert!(sent < LARGE_BLOB / 4, "{sent} bytes were fetched for 2 MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_before_the_response_cancels_the_exchange() {
    let testbed = Testbed::new().await;
    let (_, path) = testbed.with_blob(1, 1000);
    let site = hub_stand_in::Site::Cdn;
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site }));
    let bearer = testbed.engine.anonymous("library/hello").await;
    let raw = RawConnection::get(testbed.client.address(), &path, &[("authorization", &bearer)]).await;
    testbed.hub.request_log().wait_for(|entry| entry.site == site, REQUEST_TIMEOUT).await.unwrap();
    drop(raw);
    let mut server = testbed.server;
    let is_cancelled = |status: &serde_json::Value| exchanges_with(status, "cancelled") == 1;
    tokio::task::block_in_place(|| server.wait_for_status("cancel", PROMPT_TIMEOUT, is_cancelled)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_ranges_leave_no_transfer() {
    let testbed = Testbed::new().await;
    let (_, path) = testbed.with_blob(1, 64 << 20);
    let bearer = testbed.engine.anonymous("library/hello").await;
    for part in 0..8 {
        let range = format!("bytes={}-", part * (8 << 20));
        let headers = [("authorization", bearer.as_str()), ("range", range.as_str())];
        let mut raw = RawConnection::get(testbed.client.address(), &path, &headers).await;
        raw.read_body(1 << 20).await;
    }
    wait_until_all_end(&testbed).await;
    let fetched = testbed.hub.transfers().bytes_sent();
    assert!(fetched < 8 * (32 << 20), "{fetched} bytes for 8 MiB");
}

/// As containerd fetches a layer: parallel ranges without an end, each closed after a few MiB.
#[tokio::test(flavor = "multi_thread")]
async fn parallel_open_ended_ranges_carry_little_more_than_is_read() {
    const PART: u64 = 4 << 20;
    const PARTS: u64 = 24;
    const PARALLEL: u64 = 3;
    let RelayedTestbed { testbed, relay } = RelayedTestbed::new().await;
    let (_, path) = testbed.with_blob(1, PARTS * PART + (64 << 20));
    let bearer = testbed.engine.anonymous("library/hello").await;
    let read_part = async |part: u64| {
        let range = format!("bytes={}-", part * PART);
        let headers =
            [("authorization", bearer.as_str()), ("range", &range), ("user-agent", "containerd/2.1")];
        let mut raw = RawConnection::get(testbed.client.address(), &path, &headers).await;
        raw.read_body(PART as usize).await;
    };
    // The first one is how the client learns it.
    read_part(0).await;
    wait_until_all_end(&testbed).await;
    let before = relay.bytes_down();
    for first in (0..PARTS).step_by(PARALLEL as usize) {
        join_all((first..first + PARALLEL).map(&read_part)).await;
    }
    wait_until_all_end(&testbed).await;
    let (carried, read) = (relay.bytes_down() - before, PARTS * PART);
    println!("{} MiB were carried for {} MiB", carried >> 20, read >> 20);
    assert!(carried < read * 5 / 4, "{carried} bytes were carried for {read}");
}

/// The duration of a pull of this blob.
async fn pull(engine: &HttpClient, path: &str, bearer: &str) -> Duration {
    let started = Instant::now();
    let response = engine.get(path, &[("authorization", bearer)]).await;
    assert!(response.whole && response.status == 200);
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_stop_reading_delay_no_other_pull() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (_, other) = testbed.with_blob(99, 64 << 20);
    let alone = pull(&testbed.engine, &other, &bearer).await;

    let mut stopped = Vec::new();
    let mut digests = Vec::new();
    // As many as use the client's whole segment budget, and one more.
    for seed in 1..=3 {
        let (blob, path) = testbed.with_blob(seed, LARGE_BLOB);
        stopped.push(begin(&testbed, &path, 1).await);
        digests.push(blob.digest().clone());
    }
    let with_stopped_engines = pull(&testbed.engine, &other, &bearer).await;
    println!("64 MiB: {alone:?} alone, {with_stopped_engines:?} beside three engines that do not read");
    assert!(
        with_stopped_engines < alone * 3 + PROMPT_TIMEOUT,
        "{with_stopped_engines:?} beside them, {alone:?} alone"
    );
    // There was enough time to fetch too much.
    for transfer in testbed.hub.transfers().snapshot() {
        if digests.contains(&transfer.digest) {
            assert_eq!(transfer.state, TransferState::Live);
            println!("{} bytes were fetched for an engine that read none", transfer.sent);
            // The window, which is a second of loopback, and the buffers of sockets.
            let max = BULK_WINDOW_MAX + (16 << 20);
            assert!(transfer.sent < max, "{} bytes for an engine that read none", transfer.sent);
        }
    }
    drop(stopped);
    wait_until_all_end(&testbed).await;
}

/// More than the slots that one client may hold: half of the server's budget.
const STALLED: u64 = 140;

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_stall_delay_no_other_pull() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let begun = join_all((1..=STALLED).map(async |seed| {
        // In the first and in the second segment of a body, and in one that has no segments.
        let (len, byte) = [(2 << 20, 40_000), (2 << 20, 600_000), (400_000, 40_000)][seed as usize % 3];
        let (blob, path) = testbed.with_blob(seed, len);
        testbed.hub.faults().arm(Rule::always(Fault::StallAt { byte }).on(blob.digest().hex()));
        RawConnection::get(testbed.client.address(), &path, &[("authorization", &bearer)]).await
    }))
    .await;
    let all_begun =
        |all: &[Transfer]| all.iter().filter(|transfer| transfer.sent > 0).count() as u64 == STALLED;
    testbed.hub.transfers().wait_until(all_begun, REQUEST_TIMEOUT).await.unwrap();
    let (_, other) = testbed.with_blob(999, 16 << 20);
    let took = pull(&testbed.engine, &other, &bearer).await;
    assert!(took < PROMPT_TIMEOUT, "{took:?}");
    drop(begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stops_reading_leaves_the_line_to_the_others() {
    let hub = hub().await;
    let config = config(&hub);
    let rate = ["--congestion", "down=60 Mbit/s"];
    let relayed = RelayedTestbed::with(hub, &config, Duration::from_millis(150), &rate).await;
    let testbed = &relayed.testbed;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (_, other) = testbed.with_blob(99, 16 << 20);
    let (mut pulls, mut engines) = (Vec::new(), Vec::new());
    for seed in 1..=2 {
        pulls.push(pull(&testbed.engine, &other, &bearer).await);
        let (_, path) = testbed.with_blob(seed, LARGE_BLOB);
        let stopped = begin(testbed, &path, 16 << 20).await;
        // The window is full when nothing arrives any more.
        let mut before = 0;
        while relayed.relay.bytes_down() > before + 20_000 {
            before = relayed.relay.bytes_down();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        engines.push(stopped);
    }
    pulls.push(pull(&testbed.engine, &other, &bearer).await);
    println!("16 MiB beside none, one and two engines that do not read: {pulls:?}");
    assert!(pulls.iter().all(|took| *took < pulls[0] * 2), "{pulls:?}");
    drop(engines);
}
