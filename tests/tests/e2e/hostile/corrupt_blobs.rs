//! Blobs whose content does not match their digest.

use http::StatusCode;
use hub_stand_in::{Fault, Rule};

use crate::support::testbed::{Testbed, bytes};

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_blob_ends_incomplete_and_names_the_hop() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str())];
    for (seed, len, byte) in [(1, 3_000_000, 5), (2, 3_000_000, 2_999_999), (3, 300_000, 100_000), (4, 10, 9)]
    {
        let (blob, path) = testbed.with_blob(seed, len);
        testbed.hub.faults().arm(Rule::once(Fault::CorruptAt { byte }));
        let response = testbed.engine.get(&path, &headers).await;
        assert_eq!(response.status, StatusCode::OK);
        assert!(!response.whole, "byte {byte} of {len} is wrong, and it looks complete");
        assert!(response.body.len() as u64 <= len.saturating_sub(64 * 1024), "{} bytes", response.body.len());
        let health = testbed.engine.get("/health", &[]).await.json();
        let reason = health["since_start"]["transfers"]["last_failure"]["reason"].as_str().unwrap();
        assert!(reason.starts_with("CDN: ") && reason.contains(blob.digest().as_str()), "{reason}");
        let again = testbed.engine.get(&path, &headers).await;
        assert!(again.whole && again.body == bytes(&blob));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_blob_is_not_verified() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (blob, path) = testbed.with_blob(1, 3_000_000);
    for (range, bytes) in [("bytes=5-", &bytes(&blob)[5..]), ("bytes=0-9", &bytes(&blob)[..10])] {
        let response = testbed.engine.get(&path, &[("authorization", &bearer), ("range", range)]).await;
        assert!(response.whole && response.body == bytes, "{range}");
    }
}
