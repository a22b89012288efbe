//! The tunnel goes down and up. Engines get a response or a reason in time, so they do not fall back to the blocked
//! origin.

use std::time::Instant;

use docxy_tests::docxy::Client;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, PROMPT_TIMEOUT},
    testbed::{Testbed, config, hub, invite, server, wait_until_down, wait_until_up},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

async fn latest(engine: HttpClient) -> HttpResponse {
    let bearer = engine.anonymous("library/hello").await;
    engine.get(LATEST, &[("authorization", &bearer), ANY]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_server_reports_it_and_recovers() {
    let hub = hub().await;
    let mut server = server(&config(&hub));
    let link = invite(&mut server, "laptop");
    block_in_place(|| server.stop()).unwrap();
    let mut client = block_in_place(|| Client::start(None, &link)).unwrap();
    let engine = HttpClient::at(client.address());
    let started = Instant::now();
    for path in ["/v2/", LATEST, "/v2/library/hello/tags/list"] {
        let response = engine.get(path, &[ANY]).await;
        let (status, code, _) = response.fault("tunnel");
        assert_eq!((status, code.as_str()), (503, "UNAVAILABLE"));
        assert!(!response.header("retry-after").is_empty());
    }
    let health = engine.get("/health", &[]).await;
    assert_eq!(
        (health.status, &health.json()["tunnel"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"connecting".into())
    );
    assert!(health.json()["reason"].is_string());
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());

    block_in_place(|| server.start_again()).unwrap();
    wait_until_up(&mut client);
    let health = engine.get("/health", &[]).await;
    assert_eq!((health.status, &health.json()["tunnel"]), (StatusCode::OK, &"up".into()));
    assert_eq!(health.json()["server"], server.address().to_string());
    assert!(health.json()["rtt_ms"].is_u64());
    assert_eq!(latest(engine).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_waits_out_a_restart_of_the_server() {
    let mut testbed = Testbed::new().await;
    block_in_place(|| testbed.server.stop()).unwrap();
    wait_until_down(&mut testbed.client);
    let health = testbed.engine.get("/health", &[]).await;
    assert_eq!((health.status, &health.json()["tunnel"]), (StatusCode::SERVICE_UNAVAILABLE, &"down".into()));
    assert!(health.json()["since"].is_string(), "{health:?}");
    let pull = tokio::spawn(latest(testbed.engine));
    let ping = tokio::spawn(async move { testbed.engine.get("/v2/", &[]).await });
    block_in_place(|| testbed.server.start_again()).unwrap();
    assert_eq!(pull.await.unwrap().status, StatusCode::OK);
    assert_eq!(ping.await.unwrap().status, StatusCode::UNAUTHORIZED);
}

/// Docker with the containerd store, which names both.
const DOCKER_29: &str = "docker/29.7.0 go/go1.25.6 git-commit/6bc6209 kernel/6.8.0 os/linux arch/amd64 \
                         containerd-client/2.3.1+unknown storage-driver/overlayfs \
                         UpstreamClient(Docker-Client/29.7.0 \\(linux\\))";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tunnel_is_reported_before_engines_time_out() {
    let mut testbed = Testbed::new().await;
    block_in_place(|| testbed.server.stop()).unwrap();
    wait_until_down(&mut testbed.client);
    // dockerd waits 15 s for `/v2/`, and containerd 30 s for a response's head. A person waits for the others, which
    // send several requests.
    let expected = [
        ("/v2/", DOCKER_29, 10..15),
        (LATEST, DOCKER_29, 20..30),
        (LATEST, "containerd/2.3.0", 20..30),
        (LATEST, "containerd/1.6.20~ds1", 20..30),
        (LATEST, "docker/20.10.24 go/go1.19.8 os/linux", 20..30),
        (LATEST, "buildkit/v0.32", 20..30),
        (LATEST, "containers/5.24.1 (github.com/containers/image)", 20..30),
        (LATEST, "an-unknown-program/1", 20..30),
        (LATEST, "Docker-Client/29.7.0 (linux)", 6..13),
        (LATEST, "crane/0.21.4 go-containerregistry/0.21.4", 6..13),
        (LATEST, "oras/1.2.0", 6..13),
        (LATEST, "regclient/regctl (v0.8.0)", 6..13),
    ];
    join_all(expected.map(async |(path, agent, seconds)| {
        for method in [Method::GET, Method::HEAD] {
            let headers = [ANY, ("user-agent", agent)];
            let started = Instant::now();
            let response = testbed.engine.request(method.clone(), path, &headers).await;
            let elapsed = started.elapsed().as_secs();
            assert!(seconds.contains(&elapsed), "{path} of {agent}: {elapsed} s");
            assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
            // The response to a `HEAD` has no body, and engines print the status line.
            let reason = response.reason.as_deref().unwrap_or_default();
            let is_ascii = reason.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            assert!(
                reason.starts_with("Service Unavailable (docxy: tunnel: down for ") && is_ascii,
                "{reason}"
            );
            if method == Method::GET {
                let (_, code, message) = response.fault("tunnel");
                assert!(code == "UNAVAILABLE" && message.contains("down for "), "{message}");
            }
        }
    }))
    .await;
}
