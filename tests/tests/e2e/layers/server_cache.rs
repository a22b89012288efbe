//! Layers that the server keeps for all its clients: a registry sends each once, and private ones each time.

use std::{net::Ipv4Addr, time::Instant};

use docxy_tests::{
    docxy::{Launch, Server},
    process::PROCESS_TIMEOUT,
};
use http::StatusCode;
use hub_stand_in::{Blob, Fault, Rule};
use tokio::task::block_in_place;

use super::{MIB, is_on_disk};
use crate::support::{
    http_client::HttpClient,
    raw_http::RawConnection,
    testbed::{ALICE, Testbed, bytes, client, config, hub, invite},
};

async fn keeping_server() -> Testbed {
    let hub = hub().await;
    let launch = Launch::with(&["--layer-cache", "1 GB"]);
    let start = || Server::start_as(&launch, None, Ipv4Addr::LOCALHOST.into(), &config(&hub));
    let mut server = block_in_place(start).unwrap();
    let client = client(&invite(&mut server, "laptop"), &[]);
    Testbed { engine: HttpClient::at(client.address()), client, server, hub }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_sends_a_layer_once_for_all_clients() {
    let mut testbed = keeping_server().await;
    let (blob, path) = testbed.with_blob(1, 8 * MIB + 77);
    let content = bytes(&blob);
    // What has come of a pull that is cancelled stays.
    let mut raw = RawConnection::get(testbed.client.address(), &path, &[]).await;
    raw.read_body(5 << 20).await;
    drop(raw);
    testbed.exchanges_with_server();
    let sent = |testbed: &Testbed| testbed.hub.transfers().bytes_sent();
    let first = sent(&testbed);
    let whole = testbed.engine.get(&path, &[]).await;
    assert!(whole.whole && whole.body == content);
    let rest = sent(&testbed) - first;
    println!("{first} bytes were sent first, and then {rest}, of {}", blob.len());
    assert!(rest <= blob.len() - 4 * MIB, "{rest} of {}", blob.len());

    let other = client(&invite(&mut testbed.server, "other"), &[]);
    let before = sent(&testbed);
    for (range, status, wanted) in [
        (None, StatusCode::OK, 0..content.len()),
        (Some("bytes=1000-"), StatusCode::PARTIAL_CONTENT, 1000..content.len()),
        (Some("bytes=5-9"), StatusCode::PARTIAL_CONTENT, 5..10),
    ] {
        let fields: Vec<_> = range.iter().map(|range| ("range", *range)).collect();
        let response = HttpClient::at(other.address()).get(&path, &fields).await;
        assert!(response.status == status && response.whole && response.body == content[wanted], "{range:?}");
        assert_eq!(response.header("docker-content-digest"), blob.digest().as_str());
    }
    assert_eq!(sent(&testbed), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_layers_are_not_on_the_servers_disk() {
    let testbed = keeping_server().await;
    let blob = Blob::generated(2, MIB);
    testbed.hub.store().add_blob("alice/private", blob.clone());
    let path = format!("/v2/alice/private/blobs/{}", blob.digest());
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let (private, content) = (testbed.engine.get(&path, &[("authorization", &alice)]).await, bytes(&blob));
    assert!(private.whole && private.body == content);
    let (public, public_path) = testbed.with_blob(3, MIB);
    assert!(testbed.engine.get(&public_path, &[]).await.whole);
    assert_eq!(testbed.engine.get(&path, &[]).await.status, StatusCode::UNAUTHORIZED);
    let cache = testbed.server.state().with_file_name("cache");
    let Testbed { mut server, .. } = testbed;
    block_in_place(|| server.stop()).unwrap();
    assert!(is_on_disk(&cache, &bytes(&public)[1000..1064]));
    assert!(!is_on_disk(&cache, &content[1000..1064]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_on_the_servers_disk_are_refused_and_thrown_away() {
    let testbed = &mut keeping_server().await;
    // More than the server is ahead of an engine.
    let (blob, path) = testbed.with_blob(4, 24 * MIB);
    let content = bytes(&blob);
    testbed.hub.faults().arm(Rule::once(Fault::CorruptAt { byte: MIB }));
    // A part with the wrong byte is kept: only the digest of the whole shows it.
    let mut raw = RawConnection::get(testbed.client.address(), &path, &[]).await;
    raw.read_body(3 << 20).await;
    drop(raw);
    testbed.exchanges_with_server();
    assert!(testbed.hub.faults().armed().is_empty());
    let other = client(&invite(&mut testbed.server, "other"), &[]);
    let began = Instant::now();
    loop {
        let response = HttpClient::at(other.address()).get(&path, &[]).await;
        if response.whole {
            assert!(response.body == content, "the wrong byte looks right");
            break;
        }
        // The server compares the digest behind its readers.
        assert!(began.elapsed() < PROCESS_TIMEOUT, "the wrong bytes stay");
    }
}
