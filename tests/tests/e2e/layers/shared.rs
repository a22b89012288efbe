//! Several engines that want one layer at a time share one transfer, and none depends on another.

use futures_util::future::join_all;

use super::{MIB, assert_crossed_once, crossed, keeping_testbed};
use crate::support::{raw_http::RawConnection, testbed::bytes};

#[tokio::test(flavor = "multi_thread")]
async fn eight_engines_at_once_cost_one_layer() {
    let testbed = keeping_testbed().await;
    let (blob, path) = testbed.with_blob(1, 32 * MIB);
    let content = bytes(&blob);
    let pulls = (0..8).map(async |_| {
        let response = testbed.engine.get(&path, &[]).await;
        assert!(response.whole && response.body == content);
    });
    join_all(pulls).await;
    assert_crossed_once(&testbed, &blob);
}

/// As containerd fetches a layer: parallel ranges without an end, each closed when the next one's bytes are reached.
#[tokio::test(flavor = "multi_thread")]
async fn eight_open_ended_ranges_cost_one_layer() {
    let testbed = keeping_testbed().await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let content = bytes(&blob);
    let pulls = (0..8).map(async |n| {
        let range = format!("bytes={}-", n * 8 * MIB);
        let mut raw = RawConnection::get(testbed.client.address(), &path, &[("range", &range)]).await;
        raw.read_body(8 << 20).await;
        assert!(content[(n * 8 * MIB) as usize..].starts_with(raw.body()));
    });
    join_all(pulls).await;
    // The buffers of sockets hold more than was read.
    let response = testbed.engine.get(&path, &[]).await;
    assert!(response.whole && response.body == content);
    assert_crossed_once(&testbed, &blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stops_or_leaves_harms_no_other() {
    let testbed = keeping_testbed().await;
    for (seed, leaves) in [(1, false), (2, true)] {
        let before = crossed(&testbed);
        let (blob, path) = testbed.with_blob(seed, 48 * MIB);
        let mut first = RawConnection::get(testbed.client.address(), &path, &[]).await;
        first.read_body(MIB as usize).await;
        let mut second = RawConnection::get(testbed.client.address(), &path, &[]).await;
        second.read_body(2 * MIB as usize).await;
        let first = (!leaves).then_some(first);
        second.read_body(blob.len() as usize).await;
        assert!(second.body() == bytes(&blob), "leaves: {leaves}");
        if let Some(mut first) = first {
            first.read_body(blob.len() as usize).await;
            assert!(first.body() == bytes(&blob));
        }
        let crossed = crossed(&testbed) - before;
        // What has arrived when an engine leaves is kept, and what is on its way is not.
        assert!(crossed <= blob.len() * 102 / 100, "{crossed} of {}, leaves: {leaves}", blob.len());
    }
}
