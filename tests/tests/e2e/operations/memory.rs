//! The memory that a blob of gigabytes needs on both sides.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use hub_stand_in::Digest;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::support::{
    http_client::REQUEST_TIMEOUT,
    testbed::{Testbed, config, hub},
};

const BLOB_LEN: u64 = 2 << 30;
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
async fn two_gigabytes_need_less_than_64_mib_of_memory() {
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
    println!("2 GiB in {took:?}: peak RSS {:.1} MiB client, {:.1} MiB server", mib(client), mib(server));
    assert!(client < MEMORY_MAX, "the client took {:.1} MiB", mib(client));
    assert!(server < MEMORY_MAX, "the server took {:.1} MiB", mib(server));
}
