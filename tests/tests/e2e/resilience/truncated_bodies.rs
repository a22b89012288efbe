//! Truncated bodies: an engine must notice them, in a way from which it can resume.

use hub_stand_in::{Blob, Fault, Rule, Site};

use crate::support::{
    http_client::ANY,
    raw_http::{End, RawConnection, RawResponse},
    testbed::{Testbed, bytes},
};

const SEGMENT_SIZE: u64 = 512 * 1024;

/// Truncates the blob permanently: the registry answers requests for the rest with 404.
fn cut_for_good(testbed: &Testbed, blob: &Blob, byte: u64) {
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
fn assert_broken_off(received: &RawResponse, blob: &Blob, most: u64) {
    assert_eq!(received.status(), 200);
    let announced = format!("content-length: {}\r\n", blob.len());
    assert!(received.head().contains(&announced), "{}", received.head());
    assert!(received.body().len() as u64 <= most, "{} bytes", received.body().len());
    assert!(bytes(blob).starts_with(received.body()), "what came before the break is wrong");
    assert_eq!(received.end, End::Fin, "a reset would fail a pull that could be resumed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_is_incomplete() {
    let testbed = Testbed::new().await;
    for (seed, len, cut) in [
        (1, 100_000, 1),
        (9, 100_000, 60_000),
        (2, 100_000, 99_999),
        (3, SEGMENT_SIZE, SEGMENT_SIZE - 1),
        (4, 5 << 20, 100_000),
        (5, 5 << 20, SEGMENT_SIZE),
        (6, 5 << 20, 3 * SEGMENT_SIZE + 12_345),
        (7, 5 << 20, (5 << 20) - 1),
        (8, 40 << 20, 30 << 20),
    ] {
        let (blob, path) = testbed.with_blob(seed, len);
        cut_for_good(&testbed, &blob, cut);
        assert_broken_off(&pull(&testbed, &path).await, &blob, cut);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_can_be_resumed() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 10 << 20);
    let cut = 6 << 20;
    cut_for_good(&testbed, &blob, cut);
    let received = pull(&testbed, &path).await;
    assert_broken_off(&received, &blob, cut);
    testbed.hub.faults().clear();
    let got = received.body().len() as u64;
    // Only the content of the stand-in's socket may be lost with the transfer.
    assert!(got >= cut - SEGMENT_SIZE / 4, "only {got} of {cut} bytes arrived");
    let bearer = testbed.engine.anonymous("library/hello").await;
    let range = format!("bytes={got}-");
    let rest = testbed.engine.get(&path, &[("authorization", &bearer), ("range", &range)]).await;
    let whole = [received.body(), &rest.body].concat();
    assert!(rest.whole && whole == bytes(&blob));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_does_not_disturb_others() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (cut, broken) = testbed.with_blob(1, 20 << 20);
    let (sound, path) = testbed.with_blob(2, 20 << 20);
    cut_for_good(&testbed, &cut, 10 << 20);
    let headers = [("authorization", bearer.as_str())];
    let (one, other) =
        tokio::join!(testbed.engine.get(&broken, &headers), testbed.engine.get(&path, &headers));
    assert!(!one.whole);
    assert!(other.whole && other.body == bytes(&sound));
    testbed.hub.faults().clear();
    let again = testbed.engine.get(&broken, &headers).await;
    assert!(again.whole && again.body.len() == 20 << 20);
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
    let (status, code, message) = response.error();
    assert_eq!((status, code.as_str()), (403, "DENIED"));
    assert!(!message.contains('<'), "{message}");
    testbed.hub.faults().clear();
    let again = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(again.whole && again.body.len() as u64 == blob.len());
}
