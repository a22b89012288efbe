//! A cached public manifest costs no second pull, and private content is never served to others.

use docxy_tests::docxy::ServerConfig;
use http::StatusCode;
use hub_stand_in::{Fault, Hub, Image, PullLimit, PullLimits, Rule, Site};
use std::time::Duration;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    testbed::{ALICE, BOB, Testbed, config, hello, hub, invite},
    wire_client::{ManifestRequest, WireClient, WireResponse, manifest_gets, manifest_heads},
};

const HELLO: &str = "library/hello";

/// The next image of `library/hello`.
fn newer() -> Image {
    Image::hello_from("a later release").unwrap()
}

fn of_limit(pulls: u32) -> PullLimits {
    let limit = Some(PullLimit { pulls, window: Duration::from_secs(21_600) });
    PullLimits { anonymous: limit, account: limit }
}

/// Asserts the response with a cached manifest, which is the same each time.
async fn assert_hello(wire_client: &WireClient, image: &Image) {
    for reference in ["latest", image.digest().as_str()] {
        let response = wire_client.send(&ManifestRequest::get(HELLO, reference)).await;
        assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &image.index().bytes[..]));
        assert_eq!(response.header("content-type"), image.index().media_type);
        assert_eq!(response.header("docker-content-digest"), image.digest().as_str());
        assert_eq!(response.header("content-length"), image.index().bytes.len().to_string());
        let head = wire_client.send(&ManifestRequest::head(HELLO, reference)).await;
        assert_eq!(head.header("docker-content-digest"), image.digest().as_str());
        assert_eq!(head.header("content-length"), image.index().bytes.len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_image_costs_no_quota() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    for _ in 0..2 {
        assert_hello(&wire_client, &hello()).await;
    }
    assert_eq!(manifest_gets(&testbed.hub), 1);
    let response = wire_client.send(&ManifestRequest::get(HELLO, hello().digest())).await;
    assert_eq!(
        response.header("ratelimit-remaining"),
        "99;w=21600",
        "the response has the registry's last rate limit"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_manifests_survive_a_server_restart() {
    let mut testbed = Testbed::new().await;
    let link = invite(&mut testbed.server, "wire_client").parse().unwrap();
    assert_hello(&WireClient::with(&testbed, &link).await, &hello()).await;
    block_in_place(|| {
        testbed.server.stop().unwrap();
        testbed.server.start_again().unwrap();
    });
    testbed.hub.request_log().clear();
    let wire_client = WireClient::with(&testbed, &link).await;
    assert_hello(&wire_client, &hello()).await;
    assert_eq!(
        (manifest_gets(&testbed.hub), manifest_heads(&testbed.hub)),
        (0, 2),
        "only the tag is looked up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_noticed_at_once() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    assert_hello(&wire_client, &hello()).await;
    testbed.hub.store().publish(HELLO, "latest", &newer());
    assert_hello(&wire_client, &newer()).await;
    let old = wire_client.send(&ManifestRequest::get(HELLO, hello().digest())).await;
    assert_eq!(old.body, hello().index().bytes);
    assert_eq!(manifest_gets(&testbed.hub), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_during_a_request_is_consistent() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    assert_hello(&wire_client, &hello()).await;
    testbed.hub.store().publish(HELLO, "latest", &newer());
    let path = format!("/manifests/{}", newer().digest());
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }).on(&path));
    let stream = wire_client.begin(&ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64")).await;
    testbed.hub.request_log().wait_for(|entry| entry.path.ends_with(&path), REQUEST_TIMEOUT).await.unwrap();
    testbed.hub.store().publish(HELLO, "latest", &Image::hello_from("yet another").unwrap());
    testbed.hub.faults().release();
    let response = WireResponse::read(stream).await;
    assert_eq!(response.header("docker-content-digest"), newer().digest().as_str());
    assert_eq!(response.body, newer().index().bytes);
    let manifest = &newer().platform("amd64").unwrap().manifest.digest.to_string();
    assert_eq!(response.prefetched_digests().await.first(), Some(manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_manifest_is_never_cached_and_not_sent_for_a_digest() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous(HELLO).await;
    let by_digest = format!("/v2/{HELLO}/manifests/{}", hello().digest());
    let by_tag = format!("/v2/{HELLO}/manifests/latest");
    let get = async |path: &str| testbed.engine.get(path, &[("authorization", &bearer), ANY]).await;
    testbed.hub.faults().arm(Rule::once(Fault::CorruptManifest));
    // The registry is the only source of what a tag means, so the engine gets what a direct pull would get.
    let corrupt = get(&by_tag).await;
    assert_eq!((corrupt.status, corrupt.whole), (StatusCode::OK, true));
    assert_ne!(corrupt.body, hello().index().bytes);
    testbed.hub.faults().arm(Rule::once(Fault::CorruptManifest));
    let (status, _, message) = get(&by_digest).await.fault("registry");
    assert_eq!(status, 502);
    assert!(message.contains(hello().digest().as_str()), "{message}");
    for path in [&by_digest, &by_tag] {
        assert_eq!(get(path).await.body, hello().index().bytes, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn private_manifests_are_not_shared() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    let alices = Image::hello_from("alice").unwrap();
    // The same content is public in another repository.
    testbed.hub.store().publish("library/open", "latest", &alices);
    assert_eq!(
        wire_client.send(&ManifestRequest::get("library/open", "latest")).await.status,
        StatusCode::OK
    );
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let bob = testbed.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    for reference in ["latest", alices.digest().as_str()] {
        for _ in 0..2 {
            let request = ManifestRequest::get("alice/private", reference).with_hint("linux/amd64");
            let own = wire_client.send(&request.clone().by(&alice)).await;
            assert_eq!((own.status, &own.body[..]), (StatusCode::OK, &alices.index().bytes[..]));
            for other in [request.clone(), request.by(&bob)] {
                let refused = wire_client.send(&other).await;
                assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{reference}");
                assert!(refused.prefetched_digests().await.is_empty());
            }
        }
    }
    let stored_files = walk(&testbed.server.state().join("manifests"));
    assert_eq!(stored_files.len(), 1, "{stored_files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_made_private_is_closed_at_once() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    assert_hello(&wire_client, &hello()).await;
    testbed.hub.store().make_private(HELLO, &[ALICE.0]);
    testbed.hub.tokens().revoke_all();
    let refused = wire_client.send(&ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.prefetched_digests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_has_its_own_quota() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    for (user, password) in [ALICE, BOB, ALICE] {
        let bearer = testbed.engine.logged_in(user, password, HELLO).await;
        let response = wire_client.send(&ManifestRequest::get(HELLO, "latest").by(&bearer)).await;
        assert_eq!(response.header("docker-ratelimit-source"), user);
    }
    let anonymous = wire_client.send(&ManifestRequest::get(HELLO, "latest")).await;
    assert_eq!(anonymous.header("docker-ratelimit-source"), "127.0.0.1");
    assert_eq!(anonymous.header("ratelimit-remaining"), "99;w=21600");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_quota_only_cached_images_are_served() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    testbed.hub.set_pull_limits(of_limit(1));
    for _ in 0..2 {
        assert_hello(&wire_client, &hello()).await;
    }
    testbed.hub.store().publish(HELLO, "latest", &newer());
    let refused = wire_client.send(&ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("ratelimit-remaining"), "0;w=21600");
    assert_eq!(refused.header("content-length"), refused.body.len().to_string());
    let message = refused.message();
    assert!(message.starts_with("You have reached your pull rate limit."), "{message}");
    assert!(message.contains("try again in 6 h") && message.contains("log in"), "{message}");
    assert!(refused.prefetched_digests().await.is_empty());
    testbed.hub.store().publish(HELLO, "latest", &hello());
    assert_hello(&wire_client, &hello()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_responses_need_the_operators_consent() {
    for stale in [true, false] {
        let hub = hub_of(1).await;
        let config = ServerConfig { stale, ..config(&hub) };
        let mut testbed = Testbed::with(hub, &config, &[]);
        let wire_client = WireClient::of(&mut testbed).await;
        assert_hello(&wire_client, &hello()).await;
        testbed.hub.store().publish(HELLO, "latest", &newer());
        let head = wire_client.send(&ManifestRequest::head(HELLO, "latest")).await;
        let get = wire_client.send(&ManifestRequest::get(HELLO, "latest")).await;
        if stale {
            for response in [&head, &get] {
                assert_eq!(response.status, StatusCode::OK);
                assert_eq!(response.header("docker-content-digest"), hello().digest().as_str());
                assert!(response.header("warning").starts_with("110 "), "{}", response.header("warning"));
            }
            assert_eq!(get.body, hello().index().bytes);
        } else {
            assert_eq!(head.header("docker-content-digest"), newer().digest().as_str());
            assert_eq!(get.status, StatusCode::TOO_MANY_REQUESTS);
        }
    }
}

async fn hub_of(pulls: u32) -> Hub {
    let hub = hub().await;
    hub.set_pull_limits(of_limit(pulls));
    hub
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
