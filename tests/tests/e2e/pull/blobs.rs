//! Blobs of all sizes, alone and in parallel, arrive unchanged.

use futures_util::future::join_all;
use http::StatusCode;
use hub_stand_in::{Digest, LoggedRequest, Site};

use crate::support::{
    http_client::HttpResponse,
    testbed::{ALICE, Testbed, hello},
};

const SEGMENT_BYTES: u64 = 512 * 1024;

fn assert_is(response: &HttpResponse, digest: &Digest, len: u64) {
    assert_eq!((response.status, response.header("content-length")), (StatusCode::OK, &*len.to_string()));
    assert!(response.whole && response.body.len() as u64 == len, "{} of {len} bytes", response.body.len());
    assert_eq!(Digest::of(&response.body), *digest, "{len} bytes came out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_all_sizes_arrive_unchanged() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let sizes = [
        0,
        1,
        SEGMENT_BYTES - 1,
        SEGMENT_BYTES,
        SEGMENT_BYTES + 1,
        2 * SEGMENT_BYTES - 1,
        2 * SEGMENT_BYTES,
        2 * SEGMENT_BYTES + 1,
        8 * SEGMENT_BYTES,
        8 * SEGMENT_BYTES + 1,
        20 << 20,
    ];
    for (seed, len) in (1..).zip(sizes) {
        let (blob, path) = testbed.with_blob(seed, len);
        let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
        assert_is(&response, blob.digest(), len);
        assert_eq!(response.header("content-type"), "application/octet-stream");
        assert_eq!(response.header("accept-ranges"), "bytes");
        assert_eq!(response.header("location"), "", "the redirect is followed by the server");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_layers_do_not_mix() {
    let testbed = Testbed::new().await;
    let bearer = &testbed.engine.anonymous("library/hello").await;
    let blobs: Vec<_> = (1..=12).map(|seed| testbed.with_blob(seed, (seed % 5) * 1_500_000 + 77)).collect();
    let pulls = blobs.iter().map(async |(blob, path)| {
        let response = testbed.engine.get(path, &[("authorization", bearer)]).await;
        assert_is(&response, blob.digest(), blob.len());
    });
    join_all(pulls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_layer_has_its_length_and_no_body() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    for (seed, len) in [(1, 1000), (2, 20 << 20)] {
        let (_, path) = testbed.with_blob(seed, len);
        let response = testbed.engine.head(&path, &[("authorization", &bearer)]).await;
        assert_eq!((response.status, response.body.len()), (StatusCode::OK, 0));
        assert_eq!(response.header("content-length"), len.to_string());
        assert_eq!(response.header("content-type"), "application/octet-stream");
    }
    assert!(testbed.hub.transfers().snapshot().is_empty());
    assert_eq!(testbed.hub.request_log().count(|entry| entry.site == Site::Cdn && entry.method != "HEAD"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cdn_gets_no_credential() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 100_000);
    testbed.hub.store().add_blob("alice/private", blob.clone());
    let private = format!("/v2/alice/private/blobs/{}", blob.digest());
    let anonymous = testbed.engine.anonymous("library/hello").await;
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for (path, bearer) in [(&path, &anonymous), (&private, &alice)] {
        // The stand-in's CDN answers credentials with 400, as object stores do.
        assert_is(&testbed.engine.get(path, &[("authorization", bearer)]).await, blob.digest(), blob.len());
    }
    let cdn = testbed.hub.request_log().of(Site::Cdn);
    assert_eq!(cdn.len(), 2);
    assert!(cdn.iter().all(|entry| entry.header("authorization").is_none()), "{cdn:#?}");
    assert!(cdn.iter().all(|entry| entry.header("host") == Some("production.cloudflare.docker.com")));
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_encoding_is_passed_on() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let (_, path) = testbed.with_blob(1, 1000);
    let zstd = "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5";
    for accepted in [Some(zstd), None] {
        testbed.hub.request_log().clear();
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(accepted.map(|value| ("accept-encoding", value)));
        testbed.engine.get(&path, &headers).await;
        let accept_encoding = |entry: &LoggedRequest| entry.header("accept-encoding").map(str::to_owned);
        // Without the server's own token requests.
        let requests = testbed.hub.request_log().snapshot();
        let passed_on: Vec<_> =
            requests.iter().filter(|entry| entry.path.contains("/blobs/")).map(accept_encoding).collect();
        assert_eq!(passed_on, [accepted.map(str::to_owned), accepted.map(str::to_owned)], "registry and CDN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_layer_is_404() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let path = format!("/v2/library/hello/blobs/sha256:{}", "0".repeat(64));
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    let (status, code, _) = response.error();
    assert_eq!((status, code.as_str()), (404, "BLOB_UNKNOWN"));
    assert_eq!(testbed.engine.head(&path, &[("authorization", &bearer)]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_image_can_be_pulled_anonymously() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    for blob in hello().blobs() {
        let path = format!("/v2/hello/blobs/{}", blob.digest());
        let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
        assert_is(&response, blob.digest(), blob.len());
    }
}
