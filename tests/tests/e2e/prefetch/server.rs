//! What the server prefetches: in an engine's order, after a response that never waits for it, and only content that
//! the request's token opens.

use docxy_protocol::{limits::SEGMENT_BYTES, prefetch::ContentKind};
use http::StatusCode;
use hub_stand_in::{Fault, Image, Layer, PlatformImage, Rule, Site};

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    testbed::{ALICE, BOB, Testbed, bytes, hello},
    wire_client::{ManifestRequest, WireClient, WireResponse, layer_segment, manifest_gets, manifest_heads},
};

const HELLO: &str = "library/hello";

/// The digests of the prefetched items of a platform's image.
fn parts(image: &PlatformImage) -> Vec<String> {
    let layers = image.layers.iter().map(|layer| layer.blob.digest().to_string());
    [image.manifest.digest.to_string(), image.config.digest().to_string()].into_iter().chain(layers).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_prefetches_the_whole_small_image() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let image = hello();
    let amd64 = image.platform("amd64").unwrap();
    let response = wire_client.send(&ManifestRequest::head(HELLO, "latest").with_hint("linux/amd64")).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.header("docker-content-digest"), image.digest().as_str());
    let items = response.prefetched().await;
    let digests: Vec<_> = items.iter().map(|(item, _)| item.digest().to_string()).collect();
    assert_eq!(digests, [vec![image.digest().to_string()], parts(amd64)].concat());
    let contents = [&image.index().bytes[..], &amd64.manifest.bytes[..], &bytes(&amd64.config)[..]];
    for ((_, found), expected) in items.iter().zip(contents) {
        assert_eq!(found, expected);
    }
    let media_type = image.index().media_type.to_owned();
    assert_eq!(*items[0].0.kind(), ContentKind::Manifest { content_type: media_type });
    assert_eq!(*items[2].0.kind(), ContentKind::Blob);
    assert_eq!((manifest_heads(&testbed.hub), manifest_gets(&testbed.hub)), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_prefetches_the_hinted_platform() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let image = hello();
    let response = wire_client.send(&ManifestRequest::get(HELLO, "latest").with_hint("linux/arm64/v8")).await;
    assert_eq!(response.body, image.index().bytes);
    assert_eq!(response.prefetched_digests().await, parts(image.platform("arm64").unwrap()));
    assert_eq!((manifest_heads(&testbed.hub), manifest_gets(&testbed.hub)), (0, 2));
    let nothing = wire_client.send(&ManifestRequest::get(HELLO, "latest").with_hint("linux/s390x")).await;
    assert!(nothing.prefetched_digests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_image_is_not_prefetched_again() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let digest = hello().digest().to_string();
    let request = ManifestRequest::head(HELLO, "latest").with_hint("linux/amd64");
    assert_eq!(wire_client.send(&request).await.prefetched_digests().await.len(), 4);
    let known = wire_client.send(&request.clone().with_known(&digest)).await;
    assert_eq!((known.status, known.prefetched_digests().await.len()), (StatusCode::OK, 0));
    // A client that has lost its cache costs bytes, but no quota.
    assert_eq!(wire_client.send(&request).await.prefetched_digests().await.len(), 4);
    assert_eq!(manifest_gets(&testbed.hub), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_hint_nothing_is_prefetched() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    for request in [ManifestRequest::head(HELLO, "latest"), ManifestRequest::head(HELLO, hello().digest())] {
        assert!(wire_client.send(&request).await.prefetched_digests().await.is_empty());
    }
    assert_eq!((manifest_heads(&testbed.hub), manifest_gets(&testbed.hub)), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_content_is_prefetched_after_a_get_only() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    for (repository, image) in [("alice/private", Image::hello_from("alice").unwrap()), (HELLO, hello())] {
        let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, repository).await;
        let head = wire_client
            .send(&ManifestRequest::head(repository, "latest").with_hint("linux/amd64").by(&bearer))
            .await;
        assert_eq!(head.status, StatusCode::OK);
        assert!(head.prefetched_digests().await.is_empty());
        assert_eq!(manifest_gets(&testbed.hub), 0);
        for _ in 0..2 {
            testbed.hub.request_log().clear();
            let request = ManifestRequest::get(repository, "latest").with_hint("linux/amd64").by(&bearer);
            let response = wire_client.send(&request).await;
            assert_eq!(response.body, image.index().bytes);
            assert_eq!(response.prefetched_digests().await, parts(image.platform("amd64").unwrap()));
            assert_eq!(manifest_gets(&testbed.hub), 2);
            let tokens: Vec<_> = testbed.hub.request_log().of(Site::Registry);
            assert!(tokens.iter().all(|entry| entry.header("authorization") == Some(&bearer)), "{tokens:#?}");
        }
        testbed.hub.request_log().clear();
    }
    assert!(
        std::fs::read_dir(testbed.server.state().join("manifests")).is_err(),
        "private manifests are not stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_private_image_needs_its_token() {
    let testbed = Testbed::new().await;
    let image = Image::hello_from("alice").unwrap();
    let chosen = image.platform(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }).unwrap();
    let of = |kind, digest: &dyn std::fmt::Display| format!("/v2/alice/private/{kind}/{digest}");
    let index = of("manifests", image.digest());
    let parts = [
        (of("manifests", &chosen.manifest.digest), chosen.manifest.bytes.to_vec()),
        (of("blobs", chosen.config.digest()), bytes(&chosen.config)),
    ];
    let get = async |path: &str, bearer: &str| {
        let dockerd = ("user-agent", "docker/20.10.24 go/go1.19.8");
        testbed.engine.get(path, &[("authorization", bearer), ANY, dockerd]).await
    };
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    assert_eq!(get(&index, &alice).await.body, image.index().bytes);
    for _ in 0..2 {
        for (path, content) in &parts {
            assert!(get(path, &alice).await.body == *content, "{path}");
        }
    }
    for (path, _) in &parts {
        assert_eq!(testbed.hub.request_log().count(|entry| entry.path == *path), 1, "{path}");
    }
    // For every other token the registry decides, also for another token of Alice's.
    let again = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let bob = testbed.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    let anonymous = testbed.engine.anonymous("alice/private").await;
    assert_ne!(alice, again);
    for (bearer, status) in
        [(&bob, StatusCode::UNAUTHORIZED), (&anonymous, StatusCode::UNAUTHORIZED), (&again, StatusCode::OK)]
    {
        testbed.hub.request_log().clear();
        for (path, _) in &parts {
            assert_eq!(get(path, bearer).await.status, status, "{path}");
            assert!(testbed.hub.request_log().count(|entry| entry.path == *path) > 0, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_does_not_wait_for_the_prefetch() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let image = hello();
    let amd64 = image.platform("amd64").unwrap();
    let path = format!("/manifests/{}", amd64.manifest.digest);
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Registry }).on(&path));
    let response = wire_client.send(&ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64")).await;
    assert_eq!(response.body, image.index().bytes);
    testbed.hub.request_log().wait_for(|entry| entry.path.ends_with(&path), REQUEST_TIMEOUT).await.unwrap();
    testbed.hub.faults().clear();
    testbed.hub.faults().release();
    assert_eq!(response.prefetched_digests().await, parts(amd64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_cancel_the_prefetch() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let image = hello();
    let amd64 = image.platform("amd64").unwrap();
    let path = format!("/manifests/{}", amd64.manifest.digest);
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Registry }).on(&path));
    let request = ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64");
    let response = wire_client.send(&request).await;
    testbed.hub.request_log().wait_for(|entry| entry.path.ends_with(&path), REQUEST_TIMEOUT).await.unwrap();
    response.stop();
    // The server cancels its request, so that the next one is a new one.
    let again = wire_client.send(&request).await;
    let is_manifest = |entry: &hub_stand_in::LoggedRequest| entry.path.ends_with(&path);
    testbed.hub.faults().clear();
    testbed.hub.faults().release();
    assert_eq!(again.prefetched_digests().await, parts(amd64));
    assert!(testbed.hub.request_log().count(is_manifest) <= 2);
    let blobs = testbed.hub.request_log().count(|entry| entry.site == Site::Cdn);
    assert_eq!(blobs, 2, "config and layer, for the second one alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_manifest_ends_the_prefetch() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let image = hello();
    let amd64 = image.platform("amd64").unwrap();
    let request = ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64");
    testbed.hub.faults().arm(Rule::once(Fault::CorruptManifest).on(amd64.manifest.digest.as_str()));
    assert!(wire_client.send(&request).await.prefetched_digests().await.is_empty());
    let config = amd64.config.digest().to_string();
    testbed
        .hub
        .faults()
        .arm(Rule::once(Fault::CorruptAt { byte: 3 }).on(config.trim_start_matches("sha256:")));
    assert_eq!(wire_client.send(&request).await.prefetched_digests().await, parts(amd64)[..1]);
    assert_eq!(wire_client.send(&request).await.prefetched_digests().await, parts(amd64));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_share_each_manifest() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Registry }).on("/manifests/latest"));
    let request = ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64");
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(wire_client.begin(&request).await);
    }
    let is_held = |entry: &hub_stand_in::LoggedRequest| entry.path.ends_with("/manifests/latest");
    testbed.hub.request_log().wait_for(is_held, REQUEST_TIMEOUT).await.unwrap();
    // This request came later, so the server has accepted all others before its response.
    assert_eq!(
        wire_client.send(&ManifestRequest::get("library/other", "missing")).await.status,
        StatusCode::NOT_FOUND
    );
    testbed.hub.faults().clear();
    testbed.hub.faults().release();
    for stream in streams {
        let response = WireResponse::read(stream).await;
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.prefetched_digests().await.len(), 3);
    }
    let of_hello = |entry: &hub_stand_in::LoggedRequest| {
        entry.method == "GET" && entry.path.contains("library/hello/manifests/")
    };
    assert_eq!(testbed.hub.request_log().count(of_hello), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_come_ahead_on_the_segment_streams_of_a_public_image() {
    const SEGMENT: usize = SEGMENT_BYTES as usize;
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let sizes = [SEGMENT + 1000, 300_000, 3 * SEGMENT - 100_000];
    let layers = (1..).zip(sizes).map(|(seed, length)| Layer::of_noise("data", seed, length as u64));
    let layers: Vec<_> = layers.collect::<Result<_, _>>().unwrap();
    let image = Image::build(|_| Ok(layers.clone())).unwrap();
    testbed.hub.store().publish(HELLO, "latest", &image);
    let amd64 = image.platform("amd64").unwrap();
    let layer = |n: usize| (amd64.layers[n].blob.digest().to_string(), bytes(&amd64.layers[n].blob));
    let received = async |request: ManifestRequest, count| {
        let (response, streams) = wire_client.send_with_layers(request, count).await;
        assert_eq!(response.status, StatusCode::OK);
        let mut received = Vec::new();
        for stream in streams {
            received.push(
                layer_segment(stream)
                    .await
                    .map(|(segment, bytes)| (segment.digest.to_string(), segment.n as usize, bytes)),
            );
        }
        received
    };
    let segment = |layer: &(String, Vec<u8>), n: usize| {
        let (digest, bytes) = layer;
        Some((digest.clone(), n, bytes[n * SEGMENT..bytes.len().min((n + 1) * SEGMENT)].to_vec()))
    };
    let (first, second, third) = (layer(0), layer(1), layer(2));
    let expected = [segment(&first, 0), segment(&first, 1), segment(&second, 0), segment(&third, 0)];
    for request in [ManifestRequest::head(HELLO, "latest"), ManifestRequest::get(HELLO, "latest")] {
        let received = received(request.with_hint("linux/amd64"), 4).await;
        assert!(received == expected, "the layers in order, the last one in part");
    }
    let range = |entry: &hub_stand_in::LoggedRequest| {
        entry.site == Site::Cdn && entry.header("range") == Some(&format!("bytes=0-{}", SEGMENT - 1))
    };
    assert_eq!(testbed.hub.request_log().count(range), 2, "only the bytes that are sent are fetched");

    // A stream for which there is nothing is reset, and so are those of a layer that fails.
    let blob = second.0.trim_start_matches("sha256:").to_owned();
    testbed
        .hub
        .faults()
        .arm(Rule::always(Fault::Status { site: Site::Registry, status: 404, retry_after: None }).on(&blob));
    let request = || ManifestRequest::head(HELLO, "latest").with_hint("linux/amd64");
    let all = received(request(), 8).await;
    assert!(
        all[..2] == expected[..2]
            && all[2].is_none()
            && all[3..6].iter().all(Option::is_some)
            && all[6..] == [None, None]
    );
    testbed.hub.faults().clear();
    let known = received(request().with_known(image.digest()), 2).await;
    assert!(known == [None, None], "nothing of an image that the client knows");
    let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, HELLO).await;
    let private = ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64").by(&bearer);
    assert!(received(private, 2).await == [None, None], "an account's content is not sent ahead");
}
