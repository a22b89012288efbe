//! Truncated bodies: an engine must notice them, in a way from which it can resume.

use hub_stand_in::{Blob, Fault, Rule, Site};

use crate::support::{
    http_client::ANY,
    raw_http::{End, RawConnection, RawResponse},
    testbed::{Testbed, bytes},
};

const SEGMENT_BYTES: u64 = 512 * 1024;

/// Truncates the blob permanently: the registry answers requests for the rest with 404.
fn truncate_permanently(testbed: &Testbed, blob: &Blob, byte: u64) {
    let hex = blob.digest().hex();
    testbed.hub.faults().arm(Rule::once(Fault::CutAt { byte }).on(hex));
    let gone = Fault::Status { site: Site::Registry, status: 404, retry_after: None };
    testbed.hub.faults().arm(Rule::always(gone).on(hex).after(1));
}

async fn pull(testbed: &Testbed, path: &str) -> RawResponse {
    let bearer = testbed.engine.anonymous("library/hello").await;
    RawConnection::get(testbed.client.address(), path, &[("authorization", &bearer)]).await.rest().await
}

/// Asserts fewer bytes than announced, all correct, and then a FIN: from that containerd resumes.
fn assert_incomplete(received: &RawResponse, blob: &Blob, max_len: u64) {
    assert_eq!(received.status(), 200);
    let announced = format!("content-length: {}\r\n", blob.len());
    assert!(received.head().contains(&announced), "{}", received.head());
    assert!(received.body().len() as u64 <= max_len, "{} bytes", received.body().len());
    assert!(bytes(blob).starts_with(received.body()), "the bytes before the end are wrong");
    assert_eq!(received.end, End::Fin, "a reset would fail a pull that could be resumed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_is_incomplete() {
    let testbed = Testbed::new().await;
    for (seed, len, cut) in [
        (1, 100_000, 1),
        (9, 100_000, 60_000),
        (2, 100_000, 99_999),
        (3, SEGMENT_BYTES, SEGMENT_BYTES - 1),
        (4, 5 << 20, 100_000),
        (5, 5 << 20, SEGMENT_BYTES),
        (6, 5 << 20, 3 * SEGMENT_BYTES + 12_345),
        (7, 5 << 20, (5 << 20) - 1),
        (8, 40 << 20, 30 << 20),
    ] {
        let (blob, path) = testbed.with_blob(seed, len);
        truncate_permanently(&testbed, &blob, cut);
        assert_incomplete(&pull(&testbed, &path).await, &blob, cut);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_can_be_resumed() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 10 << 20);
    let cut = 6 << 20;
    truncate_permanently(&testbed, &blob, cut);
    let received = pull(&testbed, &path).await;
    assert_incomplete(&received, &blob, cut);
    testbed.hub.faults().clear();
    let received_len = received.body().len() as u64;
    // Only the content of the stand-in's socket may be lost with the transfer.
    assert!(received_len >= cut - SEGMENT_BYTES / 4, "only {received_len} of {cut} bytes arrived");
    let bearer = testbed.engine.anonymous("library/hello").await;
    let range = format!("bytes={received_len}-");
    let rest = testbed.engine.get(&path, &[("authorization", &bearer), ("range", &range)]).await;
    let whole = [received.body(), &rest.body].concat();
    assert!(rest.whole && whole == bytes(&blob));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_does_not_disturb_others() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (cut, truncated_path) = testbed.with_blob(1, 20 << 20);
    let (intact, path) = testbed.with_blob(2, 20 << 20);
    truncate_permanently(&testbed, &cut, 10 << 20);
    let headers = [("authorization", bearer.as_str())];
    let (truncated, other) =
        tokio::join!(testbed.engine.get(&truncated_path, &headers), testbed.engine.get(&path, &headers));
    assert!(!truncated.whole);
    assert!(other.whole && other.body == bytes(&intact));
    testbed.hub.faults().clear();
    let retried = testbed.engine.get(&truncated_path, &headers).await;
    assert!(retried.whole && retried.body.len() == 20 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortened_layer_is_incomplete() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (_, path) = testbed.with_blob(1, 2 << 20);
    testbed.hub.faults().arm(Rule::once(Fault::TruncateAt { byte: 1_500_000 }));
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert_eq!(response.header("content-length"), "1500000");
    assert!(!response.whole && response.body.len() < 1_500_000, "{} bytes", response.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_urls_are_reported_as_json() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (blob, path) = testbed.with_blob(1, 2 << 20);
    testbed.hub.faults().arm(Rule::always(Fault::ExpiredUrl));
    let response = testbed.engine.get(&path, &[("authorization", &bearer), ANY]).await;
    // The CDN's 403 says nothing about the image or the user.
    let (status, code, message) = response.fault("CDN");
    assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"));
    assert!(message.contains("403") && !message.contains('<'), "{message}");
    testbed.hub.faults().clear();
    let retried = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(retried.whole && retried.body.len() as u64 == blob.len());
}
