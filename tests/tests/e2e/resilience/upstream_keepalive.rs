//! The server's connections to its registry: how little a request costs when they are warm, and what `check` reports.

use docxy_tests::process::PROCESS_TIMEOUT;
use http::StatusCode;
use hub_stand_in::{Fault, Image, LoggedRequest, Rule, Site};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    testbed::{Testbed, hello},
    wire_client::{ManifestRequest, WireClient, manifest_gets},
};

const HELLO: &str = "library/hello";

/// The output of `docxy-server check`, or its error.
fn check(testbed: &Testbed, images: &[&str]) -> Result<String, String> {
    let config = testbed.server.state().with_file_name("server.toml");
    let arguments = [&["check", "--config", config.to_str().unwrap()], images].concat();
    block_in_place(|| testbed.server.command(&arguments)).map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_server_opens_no_new_connection() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    wire_client
        .send(&ManifestRequest::get(HELLO, "latest").with_hint("linux/amd64"))
        .await
        .prefetched_digests()
        .await;
    let newer = Image::hello_from("a later release").unwrap();
    let head = ManifestRequest::head(HELLO, "latest");
    for (request, expected) in [
        (ManifestRequest::get(HELLO, "latest"), &["HEAD"][..]),
        (ManifestRequest::get(HELLO, hello().digest()), &[]),
        (ManifestRequest::head(HELLO, hello().digest()), &[]),
        (head, &["HEAD"]),
        (ManifestRequest::get(HELLO, newer.platforms()[0].manifest.digest.clone()), &["GET"]),
        (ManifestRequest::get(HELLO, "new"), &["HEAD", "GET"]),
    ] {
        testbed.hub.store().publish(HELLO, "new", &newer);
        // A connection can be used again once its exchange has ended.
        let is_idle = |status: &Value| status["exchanges"] == 0 && status["streams"] == 0;
        block_in_place(|| testbed.server.wait_for_status("end its exchanges", PROCESS_TIMEOUT, is_idle))
            .unwrap();
        testbed.hub.request_log().clear();
        let known = testbed.hub.request_log().peers();
        assert_eq!(wire_client.send(&request).await.status, StatusCode::OK);
        let requests: Vec<LoggedRequest> = testbed.hub.request_log().snapshot();
        assert!(
            requests.iter().all(|entry| entry.site == Site::Registry && known.contains(&entry.peer)),
            "{requests:#?}"
        );
        assert_eq!(requests.iter().map(|entry| entry.method.as_str()).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_costs_no_quota() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous(HELLO).await;
    let (_, blob) = testbed.with_blob(1, 1 << 20);
    assert!(testbed.engine.get(&blob, &[("authorization", &bearer)]).await.whole);
    let known = testbed.hub.request_log().peers();
    testbed.hub.request_log().clear();
    for site in [Site::Registry, Site::Auth, Site::Cdn] {
        testbed.hub.request_log().wait_for(|entry| entry.site == site, 2 * PROCESS_TIMEOUT).await.unwrap();
    }
    for entry in testbed.hub.request_log().snapshot() {
        assert!(entry.method == "HEAD" && known.contains(&entry.peer), "{entry:#?}");
        assert!(!entry.path.contains("/manifests/"), "{entry:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_reachability_and_quota() {
    let testbed = Testbed::new().await;
    let received = check(&testbed, &["hello"]).unwrap();
    for line in [
        "docker.io\n",
        "  registry       ok      https://registry-1.docker.io answers\n",
        "  token service  ok      auth.docker.io grants tokens to everybody\n",
        "  quota          ok      100 of 100 pulls in 6 h left, counted for 127.0.0.1\n",
        "  CDN            ok      ",
    ] {
        assert!(received.contains(line), "{received}");
    }
    assert_eq!(manifest_gets(&testbed.hub), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_costs_no_quota_for_cached_images() {
    let mut testbed = Testbed::new().await;
    let wire_client = WireClient::of(&mut testbed).await;
    for manifest in [hello().digest().clone(), hello().platforms()[0].manifest.digest.clone()] {
        wire_client.send(&ManifestRequest::get(HELLO, manifest)).await;
    }
    testbed.hub.request_log().clear();
    assert!(check(&testbed, &["hello"]).unwrap().contains("98 of 100 pulls"));
    assert_eq!(manifest_gets(&testbed.hub), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_failed_hop() {
    let testbed = Testbed::new().await;
    for (site, hop) in [(Site::Registry, "registry"), (Site::Auth, "token service"), (Site::Cdn, "CDN")] {
        testbed.hub.faults().arm(Rule::always(Fault::HangUp { site }));
        let received = check(&testbed, &["hello"]).unwrap_err();
        testbed.hub.faults().clear();
        assert!(received.contains(&format!("  {hop:<14} FAILED  ")), "{received}");
        assert!(received.contains("1 check failed"), "{received}");
    }
    assert!(check(&testbed, &["ghcr.io/a/b"]).unwrap_err().contains("does not serve ghcr.io"));
}
