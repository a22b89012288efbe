//! The connections of a session: two, of which one may be cut or become slow at any time.

use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_tests::process::PROCESS_TIMEOUT;
use tokio::time::timeout;

use crate::support::{
    http_client::{HttpClient, REQUEST_TIMEOUT},
    relayed_testbed::{MIB, assert_whole, begin},
    tcp_relay::TcpRelay,
    testbed::{Testbed, client, config, count, hub, server},
};

/// A testbed whose client uses TCP, through a relay.
async fn relayed() -> (Testbed, TcpRelay) {
    let hub = hub().await;
    let server = server(&config(&hub));
    let relay = TcpRelay::new(server.address()).await;
    let client = client(&relay.link_to(&server, "laptop"), &["--leg", "tcp"]);
    let testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
    wait_for("a connection for bulk", || relay.opened() == 2).await;
    (testbed, relay)
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(PROCESS_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("no {what}"));
}

/// Pulls until bulk comes over this connection.
async fn pull_until_bulk_on(testbed: &Testbed, relay: &TcpRelay, connection: usize) {
    for seed in 100.. {
        let (blob, path) = testbed.with_blob(seed, 4 * MIB);
        assert_whole(&begin(testbed, &path, 1).await.rest().await, &blob);
        if relay.to_client(connection) > u64::from(SEGMENT_BYTES) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_has_a_connection_of_its_own() {
    let (testbed, relay) = relayed().await;
    pull_until_bulk_on(&testbed, &relay, 1).await;
    let before = (relay.to_client(0), relay.to_client(1));
    let (blob, path) = testbed.with_blob(1, 20 * MIB);
    assert_whole(&begin(&testbed, &path, 1).await.rest().await, &blob);
    assert!(relay.to_client(1) - before.1 >= 20 * MIB);
    assert!(relay.to_client(0) - before.0 < MIB, "{}", relay.to_client(0) - before.0);
    assert_eq!((relay.open(), relay.opened()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_survives_a_cut_of_its_bulk_connection() {
    let (testbed, relay) = relayed().await;
    pull_until_bulk_on(&testbed, &relay, 1).await;
    let (blob, path) = testbed.with_blob(1, 60 * MIB);
    let transfer = begin(&testbed, &path, 2 * MIB).await;
    relay.cut(1);
    assert_whole(&transfer.rest().await, &blob);
    // The session goes on, and gets another connection.
    assert_eq!(count(&testbed.client, "tunnel/connects"), 1);
    wait_for("other connection", || relay.opened() == 3).await;
    pull_until_bulk_on(&testbed, &relay, 2).await;
    assert_eq!((count(&testbed.client, "tunnel/connects"), relay.open()), (1, 2));
}

/// The rest of the blob would take 90 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_leaves_a_connection_whose_rate_collapses() {
    let (testbed, relay) = relayed().await;
    pull_until_bulk_on(&testbed, &relay, 1).await;
    let (blob, path) = testbed.with_blob(1, 60 * MIB);
    let transfer = begin(&testbed, &path, 2 * MIB).await;
    relay.slow_down(1);
    let received = timeout(REQUEST_TIMEOUT, transfer.rest()).await.unwrap();
    assert_whole(&received, &blob);
    assert!(relay.to_client(2) > 20 * MIB, "{}", relay.to_client(2));
    assert_eq!(count(&testbed.client, "tunnel/connects"), 1);
    wait_for("end of the slow connection", || relay.open() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_sees_at_most_six_connections_of_a_client() {
    let (testbed, relay) = relayed().await;
    pull_until_bulk_on(&testbed, &relay, 1).await;
    let (blob, path) = testbed.with_blob(1, 60 * MIB);
    let transfer = begin(&testbed, &path, 2 * MIB).await;
    relay.slow_down(1);
    let cut = async {
        wait_for("third connection", || relay.opened() == 3).await;
        relay.cut(0);
    };
    let (received, ()) = tokio::join!(timeout(REQUEST_TIMEOUT, transfer.rest()), cut);
    assert_whole(&received.unwrap(), &blob);
    wait_for("connections of the next session", || relay.open() == 2).await;
    println!("{} connections, at most {} at once", relay.opened(), relay.most_open());
    assert!(relay.most_open() <= 6, "{}", relay.most_open());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_survives_a_cut_of_the_whole_session() {
    let (testbed, relay) = relayed().await;
    let (blob, path) = testbed.with_blob(1, 60 * MIB);
    let transfer = begin(&testbed, &path, 2 * MIB).await;
    relay.cut(0);
    let received = timeout(REQUEST_TIMEOUT, transfer.rest()).await.unwrap();
    assert_whole(&received, &blob);
    assert_eq!(count(&testbed.client, "tunnel/connects"), 2);
    assert!(relay.open() <= 3, "{}", relay.open());
}
