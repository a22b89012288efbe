//! A burst of many pulls, clients and streams: no engine sees an error, and afterwards no resource stays in use.

use std::time::{Duration, Instant};

use docxy_protocol::link::Link;
use docxy_tests::{docxy::Footprint, process::PROCESS_TIMEOUT};
use futures_util::future::join_all;
use http::StatusCode;
use hub_stand_in::Digest;
use quinn::{Connection, RecvStream, SendStream};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    quic_client::{dial, next_exchange, pull, segment, send_hello, send_stream},
    raw_http::RawConnection,
    testbed::{Testbed, hello, invite},
};

const PULLS: u64 = 60;
const MIB: u64 = 1 << 20;

/// The exchanges of a client that reads nothing, and the segments that it opens for each.
const UNREAD: u32 = 40;
const SEGMENTS: u32 = 9;

/// Idle clients.
const IDLE: usize = 20;

/// Maximum number of threads for file work that a burst leaves: the server checks its files twice a second, and a thread
/// ends after an idle second.
const FILE_THREADS_MAX: usize = 3;

/// A connection, and its control stream.
type Tunnel = (Connection, (SendStream, RecvStream));

/// Pulls an image of one layer as an engine does.
async fn pull_an_image(engine: HttpClient, layer: &Digest) {
    let bearer = engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    let manifest = engine.get("/v2/library/hello/manifests/latest", &headers).await;
    assert!(manifest.status == StatusCode::OK && manifest.body == hello().index().bytes);
    let blob = engine.get(&format!("/v2/library/hello/blobs/{layer}"), &headers).await;
    assert!(blob.status == StatusCode::OK && blob.whole && Digest::of(&blob.body) == *layer);
}

/// Waits until a program uses the same resources as before, except for a number of spare tasks.
fn assert_returns_to(before: &Footprint, spare: u64, what: &str, mut now: impl FnMut() -> Footprint) {
    let started = Instant::now();
    loop {
        let mut now = now();
        let tasks = before.count("tasks");
        if (tasks..=tasks + spare).contains(&now.count("tasks")) {
            now.counts.insert("tasks".into(), tasks);
        }
        if now.threads <= before.threads + FILE_THREADS_MAX {
            now.threads = before.threads;
        }
        if now == *before {
            return;
        }
        assert!(
            started.elapsed() < 2 * PROCESS_TIMEOUT,
            "the {what} used {before:?} before, and uses {now:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A connected client that sends nothing.
async fn tunnel(testbed: &mut Testbed, name: &str) -> Tunnel {
    let link: Link = invite(&mut testbed.server, name).parse().unwrap();
    let connection = dial(testbed, &link).await;
    let control = send_hello(&connection, &link).await;
    (connection, control)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_leaves_no_resource_in_use() {
    let mut testbed = Testbed::new().await;
    let before =
        block_in_place(|| (testbed.client.footprint().unwrap(), testbed.server.footprint().unwrap()));
    assert_eq!(before.1.count("connections"), 1);

    let mut tunnels = Vec::new();
    for n in 0..IDLE {
        tunnels.push(tunnel(&mut testbed, &format!("idle-{n}")).await);
    }
    // One client requests much and reads nothing, so all of it is in progress at once.
    let busy = tunnel(&mut testbed, "busy").await;
    let (large, _) = testbed.with_blob(1000, 16 * MIB);
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        let exchange = next_exchange();
        unread.push(send_stream(&busy.0, &pull(exchange, &large)).await);
        for n in 0..SEGMENTS {
            unread.push(send_stream(&busy.0, &segment(exchange, n)).await);
        }
    }
    let mut given_up = Vec::new();
    let bearer = testbed.engine.anonymous("library/hello").await;
    for seed in 0..PULLS / 4 {
        let (_, path) = testbed.with_blob(seed, 20 * MIB);
        let mut raw =
            RawConnection::get(testbed.client.address(), &path, &[("authorization", &bearer)]).await;
        raw.read_body(MIB as usize).await;
        given_up.push(raw);
    }
    let layers: Vec<_> = (0..PULLS).map(|n| testbed.with_blob(2000 + n, 2 * MIB).0).collect();
    // The server may not have read the last Hellos and requests yet.
    let have_arrived = |status: &Value| {
        let unread = ["streams", "exchanges"].iter().all(|what| status[what].as_u64() >= Some(UNREAD.into()));
        unread && status["connections"] == IDLE + 2
    };
    block_in_place(|| testbed.server.wait_for_status("read all requests", PROCESS_TIMEOUT, have_arrived))
        .unwrap();
    let during =
        block_in_place(|| (testbed.client.footprint().unwrap(), testbed.server.footprint().unwrap()));
    println!("during the burst: {during:?}");
    assert_eq!(during.0.count("requests"), PULLS / 4);
    join_all(layers.iter().map(|layer| pull_an_image(testbed.engine, layer.digest()))).await;

    drop((given_up, unread, busy, tunnels));
    let Testbed { mut client, mut server, hub, .. } = testbed;
    // Otherwise the server would keep connections to it alive for the next pull.
    drop(hub);
    block_in_place(|| {
        assert_returns_to(&before.0, 0, "client", || client.footprint().unwrap());
        // The HTTP library's task closes unused connections, and ends a minute after the last one.
        assert_returns_to(&before.1, 1, "server", || server.footprint().unwrap());
    });
    println!("before and after: {before:?}");
}
