//! Content without a credential: what everybody may read is served, and what a credential may open is challenged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::FutureExt as _;
use http::{Method, StatusCode};
use hub_stand_in::{Fault, PullLimit, PullLimits, Rule, Site};

use crate::support::{
    http_client::{ANY, basic},
    scripted_registry::{NAME, ScriptedRegistry, reply},
    testbed::{ALICE, Testbed, bytes, hello},
    wire_client::manifest_gets,
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const PRIVATE: &str = "/v2/alice/private/manifests/latest";
const PUBLIC: (&str, &str) = ("authorization", "Bearer docxy-public");

/// BuildKit, whose command line requests tokens itself, perhaps on another machine.
const BUILDKIT: (&str, &str) = ("user-agent", "buildkit/v0.32");

/// No anonymous pull, and any number for accounts.
const NO_ANONYMOUS_PULL: PullLimits = PullLimits {
    anonymous: Some(PullLimit { pulls: 0, window: Duration::from_secs(21_600) }),
    account: None,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_image_is_served_without_a_token_in_one_request() {
    let mut testbed = Testbed::new().await;
    let image = hello();
    let platform = image.platform(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }).unwrap();
    let head = testbed.engine.head(LATEST, &[ANY, BUILDKIT]).await;
    assert_eq!(
        (head.status, head.header("docker-content-digest")),
        (StatusCode::OK, image.digest().as_str())
    );
    let path = |kind: &str, digest: &str| format!("/v2/library/hello/{kind}/{digest}");
    for (path, expected) in [
        (path("manifests", image.digest().as_str()), image.index().bytes.to_vec()),
        (path("manifests", platform.manifest.digest.as_str()), platform.manifest.bytes.to_vec()),
        (path("blobs", platform.config.digest().as_str()), bytes(&platform.config)),
        (path("blobs", platform.layers[0].blob.digest().as_str()), bytes(&platform.layers[0].blob)),
    ] {
        let response = testbed.engine.get(&path, &[ANY, BUILDKIT]).await;
        assert!(response.status == StatusCode::OK && response.body == expected, "{path}: {response:?}");
    }
    assert_eq!(testbed.exchanges_with_server(), 1, "the rest was prefetched");
    assert_eq!(manifest_gets(&testbed.hub), 2, "index and manifest");
    let tags = testbed.engine.get("/v2/library/hello/tags/list", &[]).await;
    assert_eq!(tags.json()["tags"][0], "latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_credential_may_open_is_challenged() {
    let testbed = Testbed::new().await;
    let host = testbed.engine.address();
    let refuse = |status| {
        let fault = Fault::Status { site: Site::Registry, status, retry_after: None };
        testbed.hub.faults().arm(Rule::always(fault).on("library/hello/manifests/"));
    };
    for (path, refusal, with_public_token) in [
        (PRIVATE, None, 401),
        ("/v2/library/hello/manifests/missing", None, 404),
        (LATEST, Some(403), 403),
        (LATEST, Some(404), 404),
        (LATEST, Some(429), 429),
    ] {
        refusal.map(refuse);
        for method in [Method::HEAD, Method::GET] {
            let response = testbed.engine.request(method.clone(), path, &[ANY]).await;
            assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{method} {path} {refusal:?}");
            let repository = path.split('/').skip(2).take(2).collect::<Vec<_>>().join("/");
            let challenge = format!(
                "Bearer realm=\"http://{host}/auth/token\",service=\"registry.docker.io\",\
                 scope=\"repository:{repository}:pull\""
            );
            assert_eq!(response.header("www-authenticate"), challenge);
            let response = testbed.engine.request(method, path, &[ANY, PUBLIC]).await;
            assert_eq!(response.status, with_public_token, "{path}");
        }
        testbed.hub.faults().clear();
    }
    // A failure is no refusal.
    refuse(500);
    assert_eq!(testbed.engine.get(LATEST, &[ANY]).await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_pulls_when_the_quota_of_the_address_is_used_up() {
    let testbed = Testbed::new().await;
    testbed.hub.set_pull_limits(NO_ANONYMOUS_PULL);
    let by_digest = format!("/v2/library/hello/manifests/{}", hello().digest());
    // As containerd does: a `HEAD` of the tag is free, and the `GET` is refused.
    assert_eq!(testbed.engine.head(LATEST, &[ANY]).await.status, StatusCode::OK);
    assert_eq!(testbed.engine.get(&by_digest, &[ANY]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(testbed.engine.get(&by_digest, &[ANY, PUBLIC]).await.status, StatusCode::TOO_MANY_REQUESTS);
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "library/hello").await;
    let response = testbed.engine.get(&by_digest, &[ANY, ("authorization", &alice)]).await;
    assert_eq!((response.status, response.body), (StatusCode::OK, hello().index().bytes.to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_a_credential_is_challenged_at_once() {
    let testbed = Testbed::new().await;
    let agent = ("user-agent", "containerd/2.3.0");
    let token = "/auth/token?service=registry.docker.io&scope=repository:library/hello:pull";
    let credential = basic(ALICE.0, ALICE.1);
    testbed.engine.get(token, &[agent, ("authorization", &credential)]).await.bearer();
    testbed.hub.request_log().clear();
    let challenged = testbed.engine.get(LATEST, &[ANY, agent]).await;
    assert_eq!(challenged.status, StatusCode::UNAUTHORIZED);
    assert!(testbed.hub.request_log().snapshot().is_empty(), "it costs no request");
    let other = testbed.engine.get(LATEST, &[ANY, BUILDKIT]).await;
    assert_eq!(other.status, StatusCode::OK, "another engine has no credential");
    // Its user has logged out.
    testbed.engine.get(token, &[agent]).await.bearer();
    assert_eq!(testbed.engine.get(LATEST, &[ANY, agent]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_a_challenge_refuses_itself() {
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    let registry = ScriptedRegistry::serving(
        "",
        |_| {},
        move |request| {
            let bytes = match request.path.split('/').nth(2) {
                Some("") => {
                    counted.fetch_add(1, Ordering::SeqCst);
                    reply("200 OK", "Content-Length: 2\r\n", "{}")
                }
                Some("hidden") => reply("403 Forbidden", "", ""),
                Some("limited") => reply("429 Too Many Requests", "Retry-After: 7\r\n", ""),
                _ => reply("404 Not Found", "", ""),
            };
            std::future::ready(bytes).boxed()
        },
    )
    .await;
    let engine = registry.testbed.engine;
    for _ in 0..3 {
        for (repository, status) in [("hidden/a", 403), ("limited/a", 429), ("missing/a", 404)] {
            let response = engine.get(&ScriptedRegistry::manifest(repository), &[ANY]).await;
            assert_eq!(response.status, status, "{NAME}/{repository}: {response:?}");
        }
    }
    // The server's own one, and the client's.
    assert!(pings.load(Ordering::SeqCst) <= 2, "{} pings", pings.load(Ordering::SeqCst));
}
