//! Which requests of an engine need a request to the server: one for an image's metadata, and one for each layer that
//! is not tiny.

use docxy_tests::process::PROCESS_TIMEOUT;
use http::{Method, StatusCode};
use hub_stand_in::{Digest, Image, Layer};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse},
    testbed::{ALICE, BOB, Testbed, bytes, hello, restart_client},
    wire_client::manifest_gets,
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

/// Engines by their `User-Agent`, and whether they send a `HEAD` before the `GET` of a manifest.
const DOCKERD: (&str, bool) = ("docker/29.0.1 go/go1.25.4 kernel/6.1 os/linux arch/amd64", true);
const CONTAINERD: (&str, bool) = ("containerd/1.6.20~ds1", true);
const PODMAN: (&str, bool) = ("containers/5.24.1 (github.com/containers/image)", false);
const SKOPEO: (&str, bool) = ("skopeo/1.9.3", false);

/// This machine's architecture, as images name it.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn other_architecture() -> &'static str {
    if architecture() == "amd64" { "arm64" } else { "amd64" }
}

/// An engine that pulls.
struct Puller<'a> {
    engine: &'a HttpClient,
    agent: &'a str,
    head: bool,
    bearer: String,
}

impl<'a> Puller<'a> {
    /// Sends the first requests of every pull, none of which needs the server.
    async fn new(testbed: &'a Testbed, (agent, head): (&'a str, bool)) -> Self {
        let engine = &testbed.engine;
        let agent_line = ("user-agent", agent);
        assert_eq!(engine.get("/v2/", &[agent_line]).await.status, StatusCode::UNAUTHORIZED);
        let bearer = engine.anonymous("library/hello").await;
        Self { engine, agent, head, bearer }
    }

    async fn request(&self, method: Method, path: &str) -> HttpResponse {
        let headers = [("authorization", self.bearer.as_str()), ANY, ("user-agent", self.agent)];
        let response = self.engine.request(method, path, &headers).await;
        assert_eq!(response.status, StatusCode::OK, "{path}: {response:?}");
        response
    }

    /// Pulls `image` for a platform as its engine does, and checks every byte.
    async fn pull(&self, image: &Image, repository: &str, architecture: &str) {
        let path = |kind: &str, last: &str| format!("/v2/{repository}/{kind}/{last}");
        let tag = path("manifests", "latest");
        let index = if self.head {
            let head = self.request(Method::HEAD, &tag).await;
            assert_eq!(head.header("docker-content-digest"), image.digest().as_str());
            assert_eq!(head.header("content-length"), image.index().bytes.len().to_string());
            self.request(Method::GET, &path("manifests", image.digest().as_str())).await
        } else {
            self.request(Method::GET, &tag).await
        };
        assert_eq!(index.body, image.index().bytes);
        let platform = image.platform(architecture).unwrap();
        let manifest = self.request(Method::GET, &path("manifests", platform.manifest.digest.as_str())).await;
        assert_eq!(manifest.body, platform.manifest.bytes);
        assert_eq!(manifest.header("content-type"), platform.manifest.media_type);
        assert_eq!(manifest.header("docker-content-digest"), platform.manifest.digest.as_str());
        for blob in platform.layers.iter().map(|layer| &layer.blob).chain([&platform.config]) {
            let response = self.request(Method::GET, &path("blobs", blob.digest().as_str())).await;
            assert!(response.whole && response.body == bytes(blob));
            assert_eq!(response.header("content-length"), blob.len().to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_and_token_need_no_request_to_the_server() {
    let mut testbed = Testbed::new().await;
    let host = testbed.engine.address();
    let bearer = format!("Bearer realm=\"http://{host}/auth/token\",service=\"registry.docker.io\"");
    let ping = testbed.engine.get("/v2/", &[]).await;
    assert_eq!((ping.error().0, ping.header("www-authenticate")), (401, bearer.as_str()));
    assert_eq!(ping.header("docker-distribution-api-version"), "registry/2.0");
    assert!(ping.header("content-length").parse::<u32>().unwrap() > 0);
    testbed.engine.anonymous("library/hello").await;
    assert!(testbed.hub.request_log().snapshot().is_empty());
    assert_eq!(testbed.exchanges_with_server(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_a_small_image_takes_one_request() {
    for kind in [DOCKERD, CONTAINERD, PODMAN, SKOPEO] {
        let mut testbed = Testbed::new().await;
        let puller = Puller::new(&testbed, kind).await;
        puller.pull(&hello(), "library/hello", architecture()).await;
        drop(puller);
        assert_eq!(testbed.exchanges_with_server(), 1, "{kind:?}");
        assert_eq!(manifest_gets(&testbed.hub), 2, "index and manifest");
        let puller = Puller::new(&testbed, kind).await;
        puller.pull(&hello(), "library/hello", architecture()).await;
        drop(puller);
        assert_eq!(testbed.exchanges_with_server(), 2, "{kind:?}");
        assert_eq!(manifest_gets(&testbed.hub), 2, "an unchanged image costs no pull");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_does_not_wait_for_prefetch() {
    let mut testbed = Testbed::new().await;
    let image = Image::build(|_| Ok(vec![Layer::of_noise("data", 7, 300_000)?])).unwrap();
    testbed.hub.store().publish("library/hello", "latest", &image);
    let puller = Puller::new(&testbed, DOCKERD).await;
    puller.pull(&image, "library/hello", architecture()).await;
    drop(puller);
    assert_eq!(testbed.exchanges_with_server(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_of_an_engine_is_learned() {
    let mut testbed = Testbed::new().await;
    let puller = Puller::new(&testbed, DOCKERD).await;
    puller.pull(&hello(), "library/hello", other_architecture()).await;
    drop(puller);
    let first = testbed.exchanges_with_server();
    assert!(first <= 2, "another platform takes at most one more request: {first}");
    let other = Image::hello_from("other").unwrap();
    let puller = Puller::new(&testbed, DOCKERD).await;
    puller.pull(&other, "library/other", other_architecture()).await;
    drop(puller);
    assert_eq!(testbed.exchanges_with_server(), first + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_check_prefetches_nothing() {
    let mut testbed = Testbed::new().await;
    for agent in
        ["Watchtower/1.7.1", "crane/0.21.4", "Go-http-client/1.1", "diun/4.28.0", "regclient/regclient"]
    {
        let puller = Puller::new(&testbed, (agent, true)).await;
        puller.request(Method::HEAD, LATEST).await;
        drop(puller);
        testbed.exchanges_with_server();
        assert_eq!(manifest_gets(&testbed.hub), 0, "{agent}");
    }
    // A `GET` of a manifest costs one pull.
    let puller = Puller::new(&testbed, ("curl/8.5.0", false)).await;
    puller.request(Method::GET, LATEST).await;
    drop(puller);
    testbed.exchanges_with_server();
    assert_eq!(manifest_gets(&testbed.hub), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_manifests_survive_a_restart_and_damaged_files_do_not() {
    let mut testbed = Testbed::new().await;
    let puller = Puller::new(&testbed, PODMAN).await;
    puller.pull(&hello(), "library/hello", architecture()).await;
    drop(puller);
    let content = testbed.client.cache().join("content");
    restart_client(&mut testbed.client);
    let image = hello();
    let puller = Puller::new(&testbed, PODMAN).await;
    let index = format!("/v2/library/hello/manifests/{}", image.digest());
    assert_eq!(puller.request(Method::GET, &index).await.body, image.index().bytes);
    drop(puller);
    assert_eq!(testbed.exchanges_with_server(), 1);

    for file in std::fs::read_dir(&content).unwrap() {
        std::fs::write(file.unwrap().path(), "not what it was").unwrap();
    }
    restart_client(&mut testbed.client);
    let puller = Puller::new(&testbed, PODMAN).await;
    assert_eq!(puller.request(Method::GET, &index).await.body, image.index().bytes);
    drop(puller);
    assert_eq!(testbed.exchanges_with_server(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_image_opens_no_private_repository() {
    let mut testbed = Testbed::new().await;
    // The same image in a private repository.
    testbed.hub.store().publish("alice/private", "latest", &hello());
    let puller = Puller::new(&testbed, DOCKERD).await;
    puller.pull(&hello(), "library/hello", architecture()).await;
    let image = hello();
    let platform = image.platform(architecture()).unwrap();
    for path in [
        format!("/v2/alice/private/manifests/{}", image.digest()),
        format!("/v2/alice/private/manifests/{}", platform.manifest.digest),
        format!("/v2/alice/private/blobs/{}", platform.config.digest()),
    ] {
        let headers = [("authorization", puller.bearer.as_str()), ANY];
        assert_eq!(testbed.engine.get(&path, &headers).await.error().0, 401, "{path}");
    }
    // The client does not answer for the registry if a request has a token.
    let path_of_index = format!("/v2/library/hello/manifests/{}", image.digest());
    let response = testbed.engine.get(&path_of_index, &[("authorization", "Bearer nonsense"), ANY]).await;
    assert!(response.header("www-authenticate").contains("error=\"invalid_token\""), "{response:?}");
    drop(puller);
    assert_eq!(testbed.exchanges_with_server(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_content_is_not_cached_for_others() {
    let testbed = Testbed::new().await;
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let image = Image::hello_from("alice").unwrap();
    let platform = image.platform(architecture()).unwrap();
    let paths = [
        "/v2/alice/private/manifests/latest".to_owned(),
        format!("/v2/alice/private/manifests/{}", image.digest()),
        format!("/v2/alice/private/manifests/{}", platform.manifest.digest),
        format!("/v2/alice/private/blobs/{}", platform.config.digest()),
    ];
    let docker = ("user-agent", DOCKERD.0);
    for path in &paths {
        let response = testbed.engine.get(path, &[("authorization", &alice), ANY, docker]).await;
        assert_eq!(response.status, StatusCode::OK, "{path}");
    }
    let anonymous = testbed.engine.anonymous("alice/private").await;
    let bob = testbed.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    for bearer in [&anonymous, &bob] {
        for path in &paths {
            let response = testbed.engine.get(path, &[("authorization", bearer), ANY, docker]).await;
            assert_eq!(response.error().0, 401, "{path}");
        }
    }
    let cached_files = std::fs::read_dir(testbed.client.cache().join("content")).map_or(0, Iterator::count);
    assert_eq!(cached_files, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_during_a_pull_mixes_no_images() {
    let testbed = Testbed::new().await;
    let puller = Puller::new(&testbed, DOCKERD).await;
    let head = puller.request(Method::HEAD, LATEST).await;
    let before = hello();
    let after = Image::hello_from("tomorrow").unwrap();
    testbed.hub.store().publish("library/hello", "latest", &after);
    // By the first digest the engine gets the first image, and by the tag the new one.
    let old = format!("/v2/library/hello/manifests/{}", head.header("docker-content-digest"));
    assert_eq!(puller.request(Method::GET, &old).await.body, before.index().bytes);
    let now = puller.request(Method::GET, LATEST).await;
    assert_eq!(now.header("docker-content-digest"), after.digest().as_str());
    assert_eq!(Digest::of(&now.body), *after.digest());
    puller.pull(&after, "library/hello", architecture()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_shows_the_remaining_quota() {
    let testbed = Testbed::new().await;
    for n in 0..95 {
        let image = Image::hello_from(&format!("number {n}")).unwrap();
        testbed.hub.store().publish("library/hello", "latest", &image);
        let puller = Puller::new(&testbed, ("curl/8.0", false)).await;
        puller.request(Method::GET, LATEST).await;
    }
    let health = testbed.engine.get("/health", &[]).await.json();
    let quota = &health["quota"][0];
    assert_eq!(
        (&quota["registry"], &quota["source"]),
        (&"docker.io".into(), &"127.0.0.1".into()),
        "{health}"
    );
    assert_eq!((&quota["limit"], &quota["window_seconds"]), (&100.into(), &21600.into()));
    assert!(quota["remaining"].as_u64().unwrap() < 10, "{quota}");
}

#[tokio::test(flavor = "multi_thread")]
async fn learned_challenges_survive_a_restart() {
    let other = crate::support::two_registries::TwoRegistries::new().await;
    let mut testbed = other.testbed;
    let path = |last: &str| format!("/v2/{last}?ns={}", crate::support::two_registries::OTHER);
    let (ping, private) = (path(""), path("owner/private/manifests/latest"));
    let manifest = path("owner/image/manifests/latest");
    let mut received = Vec::new();
    for path in [&ping, &private] {
        let response = testbed.engine.get(path, &[ANY]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        received.push(response.header("www-authenticate").to_owned());
    }
    assert!(
        received[1].contains("service=\"container_registry\",scope=\"repository:owner/private:pull\""),
        "{received:?}"
    );
    // The ping is not counted.
    assert_eq!(testbed.exchanges_with_server(), 1);
    restart_client(&mut testbed.client);
    for (path, before) in [&ping, &private].into_iter().zip(&received) {
        assert_eq!(testbed.engine.get(path, &[ANY]).await.header("www-authenticate"), before);
    }
    let missing = testbed.engine.get(&path("owner/missing/manifests/latest"), &[ANY]).await;
    assert_eq!(missing.header("www-authenticate"), received[1].replace("owner/private", "owner/missing"));
    // Its token still opens that registry.
    let token = "/auth/token/ghcr.example?service=container_registry&scope=repository:owner/image:pull";
    let bearer = format!("Bearer {}", testbed.engine.get(token, &[]).await.json()["token"].as_str().unwrap());
    let response = testbed.engine.get(&manifest, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
    // One for each request for content.
    assert_eq!(testbed.exchanges_with_server(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_challenge_is_refreshed_in_the_background() {
    let mut testbed = Testbed::new().await;
    let file = testbed.client.cache().join("challenges.json");
    block_in_place(|| testbed.client.stop()).unwrap();
    let bearer = "Bearer realm=\"https://old.example/token\",service=\"old.example\"";
    let old = serde_json::json!([
        { "registry": "docker.io", "on_ping": [bearer], "on_pull": [bearer], "at": 1_000_000_000 },
    ]);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, old.to_string()).unwrap();
    block_in_place(|| {
        testbed.client.start_again().unwrap();
        testbed.client.wait_until_up(PROCESS_TIMEOUT).unwrap();
    });
    let service = async |path: &str| {
        let response = testbed.engine.get(path, &[ANY]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        response.header("www-authenticate").to_owned()
    };
    // The first request does not wait for the registry.
    assert!(service("/v2/").await.contains("service=\"old.example\""));
    let started = std::time::Instant::now();
    while service("/v2/").await.contains("service=\"old.example\"") {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "the client has not asked Docker Hub again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(service("/v2/alice/private/manifests/latest").await.contains("service=\"registry.docker.io\""));
    // The file is written in the background.
    while !std::fs::read_to_string(&file).unwrap().contains("registry.docker.io") {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "the new challenge is not stored");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
