//! The tunnel goes down and up. Engines get a response or a reason in time, so they do not fall back to the blocked
//! origin.

use std::time::Instant;

use docxy_tests::docxy::Client;
use http::StatusCode;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tunnel_is_reported_before_engines_time_out() {
    let mut testbed = Testbed::new().await;
    block_in_place(|| testbed.server.stop()).unwrap();
    wait_until_down(&mut testbed.client);
    let timed = async |path: &str, agent: &str| {
        let started = Instant::now();
        let (status, code, message) =
            testbed.engine.get(path, &[ANY, ("user-agent", agent)]).await.fault("tunnel");
        assert_eq!((status, code.as_str()), (503, "UNAVAILABLE"), "{path}");
        assert!(message.contains("down for "), "{message}");
        started.elapsed().as_secs()
    };
    // dockerd waits 15 s for this request, containerd 30 s for a response's head.
    let (ping, manifest) =
        tokio::join!(timed("/v2/", "docker/29.0 go/1.25"), timed(LATEST, "containerd/2.3.0"));
    assert!((10..15).contains(&ping) && (20..30).contains(&manifest), "{ping} s, {manifest} s");
}
