//! What crossed stays: after a kill, for the second engine, without a tunnel, and on a disk that fails.

use std::fs;

use docxy_tests::{process::PROCESS_TIMEOUT, stored::files_below};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::task::block_in_place;

use super::{KEEPING, MIB, assert_crossed_once, crossed, keeping_testbed};
use crate::support::{
    raw_http::RawConnection,
    testbed::{Testbed, bytes, config, count, hub, wait_until_down, wait_until_up},
};

/// Starts the client again, which keeps layers.
fn start_again(testbed: &mut Testbed) {
    block_in_place(|| testbed.client.start_again_with(&KEEPING)).unwrap();
    wait_until_up(&mut testbed.client);
}

/// Waits until so many bytes of layers are on the disk.
fn wait_until_stored(testbed: &mut Testbed, at_least: u64) {
    let is_stored = |health: &Value| health["cache"]["bytes"].as_u64().is_some_and(|bytes| bytes >= at_least);
    block_in_place(|| testbed.client.wait_for_health("store layers", PROCESS_TIMEOUT, is_stored)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_killed_goes_on_where_it_was() {
    let mut testbed = keeping_testbed().await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let mut engine = RawConnection::get(testbed.client.address(), &path, &[]).await;
    let before = blob.len() * 6 / 10;
    engine.read_body(before as usize).await;
    // A disk is faster than a line, and slower than loopback.
    wait_until_stored(&mut testbed, before - MIB / 2);
    block_in_place(|| testbed.client.process().kill()).unwrap();
    drop(engine);
    start_again(&mut testbed);
    let response = testbed.engine.get(&path, &[]).await;
    assert!(response.whole && response.body == bytes(&blob));
    let again = crossed(&testbed);
    println!("{again} of {} bytes crossed again", blob.len());
    assert!(again <= blob.len() * 41 / 100, "{again} of {} bytes", blob.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_pull_is_from_the_disk_with_the_registrys_head() {
    let mut testbed = keeping_testbed().await;
    let (blob, path) = testbed.with_blob(1, 3 * MIB + 77);
    let (content, size) = (bytes(&blob), blob.len());
    let bearer = testbed.engine.logged_in("bob", "open-sesame-bob", "library/hello").await;
    let first = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(first.whole && first.body == content);
    assert_crossed_once(&testbed, &blob);
    let asked = testbed.hub.request_log().snapshot().len();

    // By another engine, also of another repository, also after a restart.
    let elsewhere = path.replace("library/hello", "library/other");
    for restart in [false, true] {
        if restart {
            block_in_place(|| testbed.client.stop()).unwrap();
            start_again(&mut testbed);
        }
        let before = crossed(&testbed);
        for (method, path, range, wanted) in [
            (Method::GET, &path, None, 0..size),
            (Method::GET, &elsewhere, None, 0..size),
            (Method::GET, &path, Some("bytes=1000000-".to_owned()), 1_000_000..size),
            (Method::GET, &path, Some("bytes=5-9".to_owned()), 5..10),
            (Method::GET, &path, Some("bytes=-70".to_owned()), size - 70..size),
            (Method::HEAD, &path, None, 0..size),
        ] {
            let range_field: Vec<_> = range.iter().map(|range| ("range", range.as_str())).collect();
            let response = testbed.engine.request(method.clone(), path, &range_field).await;
            let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            assert_eq!(response.status, status, "{range:?}");
            assert_eq!(response.header("content-length"), (wanted.end - wanted.start).to_string());
            let part = format!("bytes {}-{}/{size}", wanted.start, wanted.end - 1);
            assert_eq!(response.header("content-range"), range.map_or("", |_| &part));
            for name in ["content-type", "accept-ranges"] {
                assert_eq!(response.header(name), first.header(name), "{name}");
            }
            assert_eq!(response.header("docker-content-digest"), blob.digest().as_str());
            let body = if method == Method::HEAD {
                &[]
            } else {
                &content[wanted.start as usize..wanted.end as usize]
            };
            assert!(response.whole && response.body == body);
        }
        assert_eq!(crossed(&testbed), before);
        assert!(count(&testbed.client, "transfers/bytes_from_disk") >= 2 * size);
    }
    let beyond = testbed.engine.get(&path, &[("range", &format!("bytes={size}-"))]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let requests = testbed.hub.request_log().snapshot().split_off(asked);
    assert!(requests.iter().all(|request| request.header("range").is_some()), "{requests:#?}");

    block_in_place(|| testbed.server.stop()).unwrap();
    wait_until_down(&mut testbed.client);
    let response = testbed.engine.get(&path, &[]).await;
    assert!(response.status == StatusCode::OK && response.body == content, "without a tunnel");
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_are_fetched_again_unseen() {
    let mut testbed = keeping_testbed().await;
    let (blob, path) = testbed.with_blob(1, 8 * MIB);
    assert!(testbed.engine.get(&path, &[]).await.whole);
    wait_until_stored(&mut testbed, blob.len());
    block_in_place(|| testbed.client.stop()).unwrap();
    for file in files_below(&testbed.client.cache().join("blobs")).unwrap() {
        let mut content = fs::read(&file).unwrap();
        if content.len() as u64 >= blob.len() {
            // From the end: the layer is behind what describes it.
            for from_end in [1, 3 * MIB, blob.len() - 100] {
                let at = content.len() - from_end as usize;
                content[at] ^= 1;
            }
            fs::write(&file, content).unwrap();
        }
    }
    start_again(&mut testbed);
    let response = testbed.engine.get(&path, &[]).await;
    assert!(response.whole && response.body == bytes(&blob));
    let again = crossed(&testbed);
    assert!(again > 0 && again <= 2 * MIB, "{again} bytes for three chunks");
    assert!(testbed.engine.get(&path, &[]).await.body == bytes(&blob));
    assert_eq!(crossed(&testbed), again);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_go_on_without_a_disk() {
    let hub = hub().await;
    let config = config(&hub);
    let mut testbed = Testbed::with(hub, &config, &["--cache-size", "1 MB"]);
    let (blob, path) = testbed.with_blob(1, 8 * MIB);
    for what in ["no room", "no directory"] {
        let response = testbed.engine.get(&path, &[]).await;
        assert!(response.whole && response.body == bytes(&blob), "{what}");
        if what == "no room" {
            block_in_place(|| testbed.client.stop()).unwrap();
            let directory = testbed.client.cache().join("blobs");
            fs::remove_dir_all(&directory).unwrap();
            fs::write(&directory, "not a directory").unwrap();
            start_again(&mut testbed);
            let health = block_in_place(|| testbed.client.health()).unwrap();
            assert_eq!(health["cache"]["state"], "off", "{health:#}");
        }
    }
}
