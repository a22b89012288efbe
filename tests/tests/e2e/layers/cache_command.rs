//! `docxy-client cache` beside a running client, and without one.

use docxy_tests::process::PROCESS_TIMEOUT;
use serde_json::Value;
use tokio::task::block_in_place;

use super::{MIB, keeping_testbed};
use crate::support::testbed::Testbed;

fn cache(testbed: &Testbed, arguments: &[&str]) -> String {
    let arguments = [&["cache"], arguments].concat();
    block_in_place(|| testbed.client.command_without_link(&arguments, PROCESS_TIMEOUT)).unwrap()
}

fn listed(testbed: &Testbed) -> Vec<(String, u64)> {
    let listed: Vec<Value> = serde_json::from_str(&cache(testbed, &["--json"])).unwrap();
    let of = |blob: &Value| (blob["digest"].as_str().unwrap().to_owned(), blob["stored"].as_u64().unwrap());
    listed.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_listed_checked_and_removed_by_whoever_has_them() {
    let mut testbed = keeping_testbed().await;
    let blobs = [1, 2].map(|seed| testbed.with_blob(seed, MIB + 77 * seed));
    for (_, path) in &blobs {
        assert!(testbed.engine.get(path, &[]).await.whole);
    }
    // What is in use is not removed.
    testbed.exchanges_with_server();
    for is_running in [true, false] {
        if !is_running {
            block_in_place(|| testbed.client.stop()).unwrap();
        }
        let expected = blobs.iter().rev().map(|(blob, _)| (blob.digest().to_string(), blob.len()));
        let expected: Vec<_> = expected.take(if is_running { 2 } else { 1 }).collect();
        assert_eq!(listed(&testbed), expected);
        let table = cache(&testbed, &[]);
        assert_eq!(table.lines().count(), 1 + expected.len(), "{table}");
        assert!(cache(&testbed, &["verify"]).contains("all are right"));
        let keep = if is_running { "1.1 MB" } else { "0" };
        assert!(cache(&testbed, &["prune", "--keep", keep]).starts_with("removed 1 layer, "));
    }
    assert_eq!(listed(&testbed), []);
}
