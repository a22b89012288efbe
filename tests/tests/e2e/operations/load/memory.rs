//! The memory that a blob of gigabytes needs on both sides, and that of many blobs on the server.

use std::time::{Duration, Instant};

use docxy_protocol::{
    congestion::{Choice, Rate},
    control::Hello,
    link::Link,
};
use docxy_tests::process::PROCESS_TIMEOUT;
use http::Method;
use http_body_util::BodyExt as _;
use hub_stand_in::Digest;
use sha2::{Digest as _, Sha256};
use tokio::{task::block_in_place, time::timeout};

use crate::support::{
    http_client::REQUEST_TIMEOUT,
    quic_client::{dial, next_exchange, pull, segment, send_stream},
    testbed::{Testbed, config, hub, invite},
};

/// A debug build, which is slow, gets a quarter.
const BLOB_LEN: u64 = if cfg!(debug_assertions) { 512 << 20 } else { 2 << 30 };
const MEMORY_MAX: u64 = 64 << 20;

/// Reads the body with a pause after each burst. Returns its digest.
async fn read_in_bursts(mut body: hyper::body::Incoming) -> Digest {
    const BURST: u64 = 64 << 20;
    let mut hash = Sha256::new();
    let (mut read, mut next_pause) = (0, BURST);
    while let Some(frame) = timeout(REQUEST_TIMEOUT, body.frame()).await.expect("a body that goes on") {
        let bytes = frame.unwrap().into_data().unwrap();
        hash.update(&bytes);
        read += bytes.len() as u64;
        if read >= next_pause {
            next_pause += BURST;
            // Long enough for all windows and buffers to fill.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(&format!("sha256:{hex}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_blob_needs_less_than_64_mib_of_memory() {
    let hub = hub().await;
    let config = config(&hub);
    // The limit holds for the default congestion control. CUBIC's window, and with it the server's memory, grows with the
    // machine's load.
    let mut testbed = Testbed::with(hub, &config, &["--congestion", "auto"]);
    let (blob, path) = testbed.with_blob(1, BLOB_LEN);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let started = Instant::now();
    let response = testbed.engine.begin(Method::GET, &path, &[("authorization", &bearer)]).await;
    let digest = read_in_bursts(response.into_body()).await;
    let took = started.elapsed();
    assert_eq!(digest, *blob.digest());
    let client = testbed.client.process().memory().unwrap().peak;
    let server = testbed.server.process().memory().unwrap().peak;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{:.0} MiB in {took:?}: peak RSS {:.1} MiB client, {:.1} MiB server",
        mib(BLOB_LEN),
        mib(client),
        mib(server)
    );
    assert!(client < MEMORY_MAX, "the client took {:.1} MiB", mib(client));
    assert!(server < MEMORY_MAX, "the server took {:.1} MiB", mib(server));
}

/// The budget of the server's memory, over all clients.
const BUDGET: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn many_bodies_on_slow_lines_share_the_budget_of_the_server() {
    const CLIENTS: usize = 4;
    const BODIES: usize = 150;
    let mut testbed = Testbed::new().await;
    let (blob, _) = testbed.with_blob(1, 1 << 20);
    let (mut connections, mut streams) = (Vec::new(), Vec::new());
    for n in 0..CLIENTS {
        let link: Link = invite(&mut testbed.server, &format!("slow-{n}")).parse().unwrap();
        let connection = dial(&testbed, &link).await;
        // Nearly all that the server writes waits there.
        let congestion = Choice::Fixed(Rate::from_bits_per_second(1_000_000).unwrap());
        let hello =
            Hello { name: link.name.clone(), secret: link.secret.clone(), congestion, max_rate: None };
        let (mut control, welcome) = connection.open_bi().await.unwrap();
        control.write_all(&hello.encode().unwrap()).await.unwrap();
        for _ in 0..BODIES {
            let exchange = next_exchange();
            streams.push(send_stream(&connection, &pull(exchange, &blob)).await);
            streams.push(send_stream(&connection, &segment(exchange, 0)).await);
        }
        connections.push((connection, control, welcome));
    }
    let all_begun =
        |status: &serde_json::Value| status["exchanges"].as_u64() >= Some((CLIENTS * BODIES) as u64);
    block_in_place(|| testbed.server.wait_for_status("read all requests", PROCESS_TIMEOUT, all_begun))
        .unwrap();
    // Until it takes no more.
    let (mut peak, mut unchanged) = (0, 0);
    while unchanged < 10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = testbed.server.process().memory().unwrap().peak;
        unchanged = if now > peak { 0 } else { unchanged + 1 };
        peak = now;
    }
    println!("{} bodies: peak RSS {} MiB", CLIENTS * BODIES, peak >> 20);
    assert!(peak < BUDGET, "the server took {} MiB", peak >> 20);

    // A body of another client does not wait for them.
    let (_, path) = testbed.with_blob(2, 4 << 20);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(response.whole);
}
