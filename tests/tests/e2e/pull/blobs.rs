//! Blobs that arrive: small and large, one and many, to the byte.

use docxy_tests::hub::{Digest, LoggedRequest, Site};
use futures_util::future::join_all;
use http::StatusCode;

use crate::support::{
    http_client::Answer,
    testbed::{ALICE, World, hello},
};

const SEGMENT: u64 = 512 * 1024;

fn assert_is(answer: &Answer, digest: &Digest, len: u64) {
    assert_eq!((answer.status, answer.header("content-length")), (StatusCode::OK, &*len.to_string()));
    assert!(answer.whole && answer.body.len() as u64 == len, "{} of {len} bytes", answer.body.len());
    assert_eq!(Digest::of(&answer.body), *digest, "{len} bytes came out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_all_sizes_arrive_unchanged() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let sizes = [
        0,
        1,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        2 * SEGMENT - 1,
        2 * SEGMENT,
        2 * SEGMENT + 1,
        8 * SEGMENT,
        8 * SEGMENT + 1,
        20 << 20,
    ];
    for (seed, len) in (1..).zip(sizes) {
        let (blob, path) = world.with_blob(seed, len);
        let answer = world.engine.get(&path, &[("authorization", &bearer)]).await;
        assert_is(&answer, blob.digest(), len);
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("location"), "", "the redirect is followed by the server");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_layers_do_not_mix() {
    let world = World::new().await;
    let bearer = &world.engine.anonymous("library/hello").await;
    let blobs: Vec<_> = (1..=12).map(|seed| world.with_blob(seed, (seed % 5) * 1_500_000 + 77)).collect();
    let pulls = blobs.iter().map(async |(blob, path)| {
        let answer = world.engine.get(path, &[("authorization", bearer)]).await;
        assert_is(&answer, blob.digest(), blob.len());
    });
    join_all(pulls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_layer_has_its_length_and_no_body() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    for (seed, len) in [(1, 1000), (2, 20 << 20)] {
        let (_, path) = world.with_blob(seed, len);
        let answer = world.engine.head(&path, &[("authorization", &bearer)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
        assert_eq!(answer.header("content-length"), len.to_string());
        assert_eq!(answer.header("content-type"), "application/octet-stream");
    }
    assert!(world.hub.transfers().snapshot().is_empty());
    assert_eq!(world.hub.request_log().count(|entry| entry.site == Site::Cdn && entry.method != "HEAD"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cdn_gets_no_credential() {
    let world = World::new().await;
    let (blob, path) = world.with_blob(1, 100_000);
    world.hub.store().add_blob("alice/private", blob.clone());
    let private = format!("/v2/alice/private/blobs/{}", blob.digest());
    let anonymous = world.engine.anonymous("library/hello").await;
    let alice = world.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for (path, bearer) in [(&path, &anonymous), (&private, &alice)] {
        // The stand-in's CDN answers 400 to credentials, as object stores do.
        assert_is(&world.engine.get(path, &[("authorization", bearer)]).await, blob.digest(), blob.len());
    }
    let cdn = world.hub.request_log().of(Site::Cdn);
    assert_eq!(cdn.len(), 2);
    assert!(cdn.iter().all(|entry| entry.header("authorization").is_none()), "{cdn:#?}");
    assert!(cdn.iter().all(|entry| entry.header("host") == Some("production.cloudflare.docker.com")));
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_encoding_is_passed_on() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let (_, path) = world.with_blob(1, 1000);
    let zstd = "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5";
    for accepted in [Some(zstd), None] {
        world.hub.request_log().clear();
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(accepted.map(|value| ("accept-encoding", value)));
        world.engine.get(&path, &headers).await;
        let wanted = |entry: &LoggedRequest| entry.header("accept-encoding").map(str::to_owned);
        // Beside the server's own requests for a token.
        let journal = world.hub.request_log().snapshot();
        let seen: Vec<_> =
            journal.iter().filter(|entry| entry.path.contains("/blobs/")).map(wanted).collect();
        assert_eq!(seen, [accepted.map(str::to_owned), accepted.map(str::to_owned)], "registry and CDN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_layer_is_404() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let path = format!("/v2/library/hello/blobs/sha256:{}", "0".repeat(64));
    let answer = world.engine.get(&path, &[("authorization", &bearer)]).await;
    let (status, code, _) = answer.error();
    assert_eq!((status, code.as_str()), (404, "BLOB_UNKNOWN"));
    assert_eq!(world.engine.head(&path, &[("authorization", &bearer)]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_image_can_be_pulled_anonymously() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    for blob in hello().blobs() {
        let path = format!("/v2/hello/blobs/{}", blob.digest());
        let answer = world.engine.get(&path, &[("authorization", &bearer)]).await;
        assert_is(&answer, blob.digest(), blob.len());
    }
}
